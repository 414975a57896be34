// The PROXY protocol's headers as bytes, both ways. Pure: no descriptor, no clock.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "warren/address.h"
#include "warren/bytes.h"
#include "warren/proxy_protocol.h"
#include "warren/result.h"

namespace warren::net {

// The type of the TLV whose value is computed, and its size.
constexpr uint8_t kProxyChecksum = 3;
constexpr size_t kProxyChecksumSize = 4;

// Reads one header that may come in pieces of any size.
//   invariant  nothing is read beyond the header, and nothing kept beyond `maxHeader` bytes
class ProxyParser {
 public:
  enum class Stage : uint8_t { more, done, malformed };

  explicit ProxyParser(size_t maxHeader) : maxHeader_(maxHeader) {}

  // Takes bytes of the header and returns how many of them belong to it; the rest is the
  // connection's own. Takes nothing once it is done or malformed.
  size_t feed(Bytes bytes);

  Stage stage() const { return stage_; }
  // Once it is done.
  const ProxyHeader& header() const { return header_; }
  // Once it is malformed: what is wrong, in words.
  std::string_view problem() const { return problem_; }

 private:
  size_t maxHeader_;
  Stage stage_ = Stage::more;
  std::string gathered_;
  ProxyHeader header_;
  std::string_view problem_;
};

// A header that says so. Both addresses are of one family, ipv4 or ipv6; anything else makes a header
// that leaves it open (v1 UNKNOWN, v2 LOCAL). Scopes are left out: they mean nothing to another host.
// The value of a TLV PP2_TYPE_CRC32C (3), of which there is at most one, is computed, whatever it was.
//   errors  none: that addresses and TLVs fit into 65535 bytes is checked
std::string proxyHeaderV1(const Address& source, const Address& destination);
std::string proxyHeaderV2(const Address& source, const Address& destination,
                          const std::vector<ProxyTlv>& tlvs);

// A network such as "10.0.0.0/8", or a single address.
struct Network {
  Address address;
  int bits = 0;

  // IPv4 addresses in IPv6 clothes (::ffff:10.0.0.1) count as IPv4.
  bool contains(const Address& candidate) const;
};
// nullopt for what is none: a malformed address or length, or a bit that is set beyond the length
// ("10.0.0.1/8"). Networks of IPv4 addresses in IPv6 clothes become IPv4 networks.
std::optional<Network> parseNetwork(std::string_view text);

}  // namespace warren::net
