// What most tests include, compiled once: the Makefile puts it before each of them. A test still
// includes what it uses; CMake builds without this and so finds out. No guard, as nothing includes it.
#include "support/catch.h"
#include "support/net.h"
#include "warren/warren.h"
