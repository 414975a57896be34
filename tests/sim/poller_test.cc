// The promises of a poller, asked of the simulated one in both of its ways to tell readiness.
#include <poll.h>

#include "kernel.h"
#include "state.h"
#include "support/catch.h"

namespace {

struct Ground {
  warren::sim::Kernel kernel;
  Ground() {
    using warren::sim::Readiness;
    kernel.readiness(GENERATE(Readiness::epoll, Readiness::kqueue));
  }
};

}  // namespace

#include "os/poller_promises.h"

namespace warren::os {

// What is to come is there already.
void await(const Fd& fd, short events) {
  const sim::Ready ready = sim::readinessOf(*sim::Kernel::current().state().find(fd.get()));
  REQUIRE(((events & POLLIN) != 0 ? ready.in : ready.out));
}

}  // namespace warren::os
