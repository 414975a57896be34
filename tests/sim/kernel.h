// The simulated kernel, for tests that look at its seam too: include/warren/sim.h, and what the events
// and answers in it are made of.
#pragma once

#include "include/warren/sim.h"
#include "os/poller.h"
#include "os/sys.h"
