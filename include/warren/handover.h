// Handing listeners over: from a service manager, and from one process to the next.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "warren/result.h"

namespace warren {

// A descriptor that another process has opened for us. Whoever gets it owns it: give it to the option
// `fd` of listen or connect, or close it.
struct HandedOver {
  int fd = -1;
  std::string name;
};

// The listeners a service manager has opened for this process: LISTEN_FDS descriptors from 3 on, if
// LISTEN_PID is us, with their LISTEN_FDNAMES. Each is made close-on-exec and non-blocking. Empty
// without any; ask once, since it does not remember what it gave.
//   errors  Usage::invalid for numbers that are none, the kernel's EBADF for descriptors not there
//   thread  while no other changes the environment
//   source  sd_listen_fds(3)
Result<std::vector<HandedOver>> inheritedListeners();

// Sends a descriptor with a name of at most 255 bytes over a connected, blocking unix stream socket; ours
// stays open, so connections queue without a gap until we stop ours and the other starts its own.
//   errors  Usage::outOfRange for the name, the kernel's
//   source  unix(7), SCM_RIGHTS
Result<void> handOver(int unixSocket, int fd, std::string_view name);

// Waits for one on such a socket. What comes is made close-on-exec and, for all who hold it, non-blocking.
// The kernel's ECONNRESET when the other end closes instead, Usage::invalid for a message
// without a descriptor.
Result<HandedOver> takeOver(int unixSocket);

}  // namespace warren
