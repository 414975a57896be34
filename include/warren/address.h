// Address: one end of a connection.
#pragma once

#include <array>
#include <cstdint>
#include <string>

// GNU dialects (-std=gnu++20) predefine `unix` as 1; here it is the name of an option and a family.
#ifdef unix
#undef unix
#endif

namespace warren {

enum class Family : uint8_t { none, ipv4, ipv6, unix };

// An IP address with a port, or the bare fact "unix socket" (the path is the listener's to tell:
// Listener::unixPath). A plain value; compares by content.
class Address {
 public:
  Address() = default;  // Family::none: nothing is known
  static Address ipv4(std::array<uint8_t, 4> ip, uint16_t port);
  static Address ipv6(std::array<uint8_t, 16> ip, uint16_t port, uint32_t scope = 0);
  static Address unix();

  Family family() const { return family_; }

  // "127.0.0.1", "::1", "fe80::1%2" (RFC 5952 form, numeric scope). Empty for unix and none.
  std::string host() const;

  // 0..65535 in host order; 0 for unix and none.
  uint16_t port() const { return port_; }

  // The same address with another port.
  Address withPort(uint16_t port) const {
    Address other = *this;
    other.port_ = port;
    return other;
  }

  // "127.0.0.1:80", "[::1]:80", "unix", "".
  std::string text() const;

  // The address in network order: 4 bytes for ipv4 (the rest is 0), 16 for ipv6.
  const std::array<uint8_t, 16>& ip() const { return ip_; }

  // The interface a link-local IPv6 address belongs to; 0 otherwise.
  uint32_t scope() const { return scope_; }

  bool operator==(const Address&) const = default;

 private:
  std::array<uint8_t, 16> ip_{};
  uint32_t scope_ = 0;
  uint16_t port_ = 0;
  Family family_ = Family::none;
};

}  // namespace warren
