#include <poll.h>

#include "loopback.h"

void warren::os::await(const Fd& fd, short events) {
  pollfd asked{fd.get(), events, 0};
  REQUIRE(::poll(&asked, 1, kPatienceMs) == 1);
}
