#include "os/address.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "base/check.h"

namespace warren {
namespace {

using Ipv4 = std::array<uint8_t, 4>;
using Ipv6 = std::array<uint8_t, 16>;

constexpr size_t kGroupCount = 8;

// Groups of an IPv6 address, from `begin` on.
struct Run {
  size_t begin;
  size_t size;
};

uint16_t groupAt(const Ipv6& ip, size_t group) {
  return static_cast<uint16_t>(ip[2 * group] << 8 | ip[2 * group + 1]);
}

// The zeros that "::" stands for (RFC 5952, 4.2): the longest run of at least two zero groups, the
// first of equal ones. Without one, an empty run behind the last group.
Run longestZeroRun(const Ipv6& ip) {
  Run longest{kGroupCount, 1};
  Run run{0, 0};
  for (size_t group = 0; group < kGroupCount; ++group) {
    run = groupAt(ip, group) == 0 ? Run{run.begin, run.size + 1} : Run{group + 1, 0};
    if (run.size > longest.size) longest = run;
  }
  return longest;
}

bool isIpv4Mapped(const Ipv6& ip) {
  constexpr std::array<uint8_t, 12> kPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::equal(kPrefix.begin(), kPrefix.end(), ip.begin());
}

void appendIpv4(std::string& text, const uint8_t* ip) {
  for (size_t part = 0; part < 4; ++part) {
    if (part > 0) text += '.';
    text += std::to_string(ip[part]);
  }
}

void appendGroup(std::string& text, uint16_t group) {
  std::array<char, 4> digits;
  const auto [end, error] = std::to_chars(digits.begin(), digits.end(), group, 16);
  WARREN_CHECK(error == std::errc{});
  text.append(digits.begin(), end);
}

void appendIpv6(std::string& text, const Ipv6& ip) {
  const Run zeros = longestZeroRun(ip);
  for (size_t group = 0; group < kGroupCount; ++group) {
    if (group == zeros.begin) {
      text += "::";
      group += zeros.size - 1;
    } else {
      if (group > 0 && group != zeros.begin + zeros.size) text += ':';
      appendGroup(text, groupAt(ip, group));
    }
  }
}

// The whole text as one number: no sign, no space, no prefix.
template <class Number>
bool readNumber(std::string_view text, int base, Number& into) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, into, base);
  return error == std::errc{} && stop == end;
}

// As above, without leading zeros: "010" is 8 to some readers and 10 to others.
template <class Number>
bool readDecimal(std::string_view text, Number& into) {
  const bool leadingZero = text.size() > 1 && text.front() == '0';
  return !leadingZero && readNumber(text, 10, into);
}

bool readIpv4(std::string_view text, uint8_t* ip) {
  for (size_t part = 0; part < 4; ++part) {
    const std::string_view digits = text.substr(0, text.find('.'));
    if (!readDecimal(digits, ip[part])) return false;
    text.remove_prefix(digits.size());
    if (part == 3) break;
    if (text.empty()) return false;
    text.remove_prefix(1);  // the dot
  }
  return text.empty();
}

// Reads what stands between two colons, or at the end four decimal parts, into `ip` at `at`.
// Returns how many bytes it gave: 2, 4, or 0 when it is malformed or does not fit.
size_t readIpv6Part(std::string_view part, bool last, Ipv6& ip, size_t at) {
  const size_t room = ip.size() - at;
  if (last && room >= 4 && readIpv4(part, &ip[at])) return 4;
  uint16_t group = 0;
  if (room < 2 || part.size() > 4 || !readNumber(part, 16, group)) return 0;
  ip[at] = static_cast<uint8_t>(group >> 8);
  ip[at + 1] = static_cast<uint8_t>(group & 0xff);
  return 2;
}

bool readIpv6(std::string_view text, Ipv6& ip) {
  constexpr size_t kNone = ~size_t{0};
  size_t size = 0;     // bytes read
  size_t gap = kNone;  // where the zeros of "::" go
  if (text.starts_with("::")) {
    gap = 0;
    text.remove_prefix(2);
  }
  while (!text.empty()) {
    const size_t colon = text.find(':');
    const bool last = colon == std::string_view::npos;
    const size_t given = readIpv6Part(text.substr(0, colon), last, ip, size);
    if (given == 0) return false;
    size += given;
    if (last) break;
    text.remove_prefix(colon + 1);
    if (text.empty()) return false;  // a single colon at the end
    if (text.front() != ':') continue;
    if (gap != kNone) return false;
    gap = size;
    text.remove_prefix(1);
  }
  if (gap == kNone) return size == ip.size();
  // "::" stands for at least one group (RFC 4291, 2.2): what follows it moves to the end.
  if (size > ip.size() - 2) return false;
  std::fill(ip.begin() + static_cast<std::ptrdiff_t>(size), ip.end(), uint8_t{0});
  std::rotate(ip.begin() + static_cast<std::ptrdiff_t>(gap),
              ip.begin() + static_cast<std::ptrdiff_t>(size), ip.end());
  return true;
}

bool readScope(std::string_view text, uint32_t& scope) {
  if (text.find_first_not_of("0123456789") == std::string_view::npos) {
    return readDecimal(text, scope);
  }
  if (text.size() >= IF_NAMESIZE || text.find('\0') != std::string_view::npos) return false;
  scope = if_nametoindex(std::string(text).c_str());
  return scope != 0;
}

}  // namespace

Address Address::ipv4(std::array<uint8_t, 4> ip, uint16_t port) {
  Address address;
  address.family_ = Family::ipv4;
  std::copy(ip.begin(), ip.end(), address.ip_.begin());
  address.port_ = port;
  return address;
}

Address Address::ipv6(std::array<uint8_t, 16> ip, uint16_t port, uint32_t scope) {
  Address address;
  address.family_ = Family::ipv6;
  address.ip_ = ip;
  address.port_ = port;
  address.scope_ = scope;
  return address;
}

Address Address::unix() {
  Address address;
  address.family_ = Family::unix;
  return address;
}

std::string Address::host() const {
  std::string text;
  if (family_ == Family::ipv4) appendIpv4(text, ip_.data());
  if (family_ != Family::ipv6) return text;
  if (isIpv4Mapped(ip_)) {
    text = "::ffff:";
    appendIpv4(text, &ip_[12]);
  } else {
    appendIpv6(text, ip_);
  }
  if (scope_ != 0) text += '%' + std::to_string(scope_);
  return text;
}

std::string Address::text() const {
  switch (family_) {
    case Family::none:
      return "";
    case Family::unix:
      return "unix";
    case Family::ipv4:
      return host() + ':' + std::to_string(port_);
    case Family::ipv6:
      return '[' + host() + "]:" + std::to_string(port_);
  }
  return "";
}

namespace os {

std::optional<Address> parseAddress(std::string_view host, uint16_t port) {
  if (host.size() > kMaxAddressText) return std::nullopt;
  if (Ipv4 ip; readIpv4(host, ip.data())) return Address::ipv4(ip, port);
  const size_t percent = host.find('%');
  Ipv6 ip;
  uint32_t scope = 0;
  if (!readIpv6(host.substr(0, percent), ip)) return std::nullopt;
  if (percent != std::string_view::npos && !readScope(host.substr(percent + 1), scope)) {
    return std::nullopt;
  }
  return Address::ipv6(ip, port, scope);
}

uint32_t toSockaddr(const Address& address, sockaddr_storage& into) {
  into = {};
  if (address.family() == Family::ipv4) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(address.port());
    std::memcpy(&name.sin_addr, address.ip().data(), sizeof name.sin_addr);
    std::memcpy(&into, &name, sizeof name);
    return sizeof name;
  }
  WARREN_CHECK(address.family() == Family::ipv6);
  sockaddr_in6 name{};
  name.sin6_family = AF_INET6;
  name.sin6_port = htons(address.port());
  name.sin6_scope_id = address.scope();
  std::memcpy(&name.sin6_addr, address.ip().data(), sizeof name.sin6_addr);
  std::memcpy(&into, &name, sizeof name);
  return sizeof name;
}

Address fromSockaddr(const sockaddr* from, uint32_t size) {
  constexpr size_t kFamilyEnd = offsetof(sockaddr, sa_family) + sizeof(sockaddr::sa_family);
  if (size < kFamilyEnd) return {};
  if (from->sa_family == AF_UNIX) return Address::unix();
  if (from->sa_family == AF_INET && size >= sizeof(sockaddr_in)) {
    sockaddr_in name;
    std::memcpy(&name, from, sizeof name);
    return Address::ipv4(std::bit_cast<Ipv4>(name.sin_addr), ntohs(name.sin_port));
  }
  if (from->sa_family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    sockaddr_in6 name;
    std::memcpy(&name, from, sizeof name);
    return Address::ipv6(std::bit_cast<Ipv6>(name.sin6_addr), ntohs(name.sin6_port),
                         name.sin6_scope_id);
  }
  return {};
}

std::string unixText(const std::string& path) {
  const bool abstract = path.starts_with('\0');
  std::string text = "unix " + (abstract ? "@" + path.substr(1) : path);
  constexpr size_t kRoom = sizeof(sockaddr_un::sun_path);
  if (const size_t size = path.size() + (abstract ? 0 : 1); size > kRoom) {
    text += " has " + std::to_string(size - kRoom) + " bytes too many";
  }
  return text;
}

}  // namespace os
}  // namespace warren
