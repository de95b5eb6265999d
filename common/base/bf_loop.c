#include "bf_loop.h"

static _Thread_local bool on_loop, refused;

void bf_loop_enter(void) {
    on_loop = true;
    refused = false;
}

bool bf_loop_leave(void) {
    bool was_refused = refused;
    on_loop = refused = false;
    return was_refused;
}

bool bf_loop_refuses(void) {
    refused = refused || on_loop;
    return on_loop;
}

bool bf_loop_refused(void) {
    return refused;
}
