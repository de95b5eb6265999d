# One file owns each foreign library. cmake/forbidden/ holds headers of the same names that only say #error; bf_module() puts that folder first in
# the search path, and bf_owns() gives single source files the real one back. So a forbidden include does not compile.
find_package(PkgConfig REQUIRED)
pkg_check_modules(RDKAFKA REQUIRED IMPORTED_TARGET rdkafka)
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(PQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(LMDB REQUIRED IMPORTED_TARGET lmdb)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
find_library(AVRO_LIBRARY avro REQUIRED)

# bf_module(name SOURCES … LINKS … [OWNS file …]): a static library whose public headers are those of its folder. `OWNS` files may include
# foreign headers (librdkafka, avro-c, lmdb, libpq, microhttpd, curl, zlib, zstd); all others may not.
function(bf_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS;OWNS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES} ${ARG_OWNS})
  target_include_directories(${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_LINKS} Threads::Threads m)
  if(ARG_SOURCES)
    set_property(SOURCE ${ARG_SOURCES} APPEND PROPERTY COMPILE_OPTIONS "-I${CMAKE_SOURCE_DIR}/cmake/forbidden")
  endif()
endfunction()

# bf_program(name SOURCES … LINKS …): an executable in build/bin; no foreign headers in it.
function(bf_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINKS} Threads::Threads m)
  if(BF_SANITIZE_THREAD)
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/support/tsan_threads.c)
  endif()
  set_property(SOURCE ${ARG_SOURCES} APPEND PROPERTY COMPILE_OPTIONS "-I${CMAKE_SOURCE_DIR}/cmake/forbidden")
endfunction()

# bf_test(name KIND unit|component|system|crash|fuzz SOURCES … LINKS …): a cmocka program run by ctest, labelled with its kind.
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
function(bf_test name)
  cmake_parse_arguments(ARG "" "KIND" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_LINKS} PkgConfig::CMOCKA Threads::Threads m)
  target_compile_definitions(${name} PRIVATE BF_SOURCE_DIR="${CMAKE_SOURCE_DIR}" BF_BIN_DIR="${CMAKE_BINARY_DIR}/bin")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_KIND})
endfunction()
