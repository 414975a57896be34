// The PROXY protocol: who is really at the other end of a proxied connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "warren/address.h"

namespace warren {

// For listeners behind a proxy: every connection must begin with a header of version 1 or 2, and
// `open` waits for it. Presence is never guessed. A connection that does not bring one within 10
// seconds, brings a malformed one or comes from elsewhere is reset, and `acceptError` says why.
//   source  The PROXY protocol, versions 1 & 2 (HAProxy, doc/proxy-protocol.txt)
struct ProxyProtocol {
  // Who may say such things: addresses or networks, "127.0.0.1", "10.0.0.0/8", "fd00::/8". A unix
  // listener's peers are always trusted, and only there it may be empty. A network with bits behind its
  // prefix, as "10.0.0.1/8", is refused.
  std::vector<std::string> trusted{};
  // The longest header taken, in bytes: 107..65551. A version 1 header never has more than 107.
  size_t maxHeader = 4096;
};

// One Type-Length-Value vector of a version 2 header.
struct ProxyTlv {
  uint8_t type = 0;
  std::string value{};
};

// What a header said.
struct ProxyHeader {
  int version = 0;  // 0: there was none
  // The proxy speaks for itself (a health check), or does not say for whom: there are no addresses
  // here then, and remoteAddress() is that of the connection itself.
  bool local = false;
  Address source{};
  Address destination{};
  std::vector<ProxyTlv> tlvs{};
};

}  // namespace warren
