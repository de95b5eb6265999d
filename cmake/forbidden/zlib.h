#error "zlib.h is owned by one file of this project; go through its header"
