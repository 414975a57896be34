// The system's name look-up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "warren/address.h"
#include "warren/result.h"

namespace warren::os {

// The addresses of a host that need no look-up: a numeric one is itself, and "localhost" is this
// machine on both loopbacks, whatever the hosts file says (RFC 6761, section 6.3).
std::optional<std::vector<Address>> knownAddresses(const std::string& host, uint16_t port);

// getaddrinfo(3) for stream sockets: the addresses of a host name in the system's order, each once,
// with `port`. Blocks as long as it takes.
//   errors  Origin::resolver with an EAI_ code, or Origin::kernel behind EAI_SYSTEM
Result<std::vector<Address>> lookUp(const std::string& host, uint16_t port);

}  // namespace warren::os
