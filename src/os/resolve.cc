#include "os/resolve.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "os/address.h"

namespace warren::os {

std::optional<std::vector<Address>> knownAddresses(const std::string& host, uint16_t port) {
  if (std::optional<Address> numeric = parseAddress(host, port)) return std::vector{*numeric};
  if (host != "localhost") return std::nullopt;
  std::array<uint8_t, 16> one{};
  one[15] = 1;
  return std::vector{Address::ipv4({127, 0, 0, 1}, port), Address::ipv6(one, port)};
}

Result<std::vector<Address>> lookUp(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (code == EAI_SYSTEM) return Error(Origin::kernel, errno, Step::resolve, host);
  if (code != 0) return Error(Origin::resolver, code, Step::resolve, host);
  std::vector<Address> addresses;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const Address address =
        fromSockaddr(each->ai_addr, static_cast<uint32_t>(each->ai_addrlen)).withPort(port);
    const bool known = std::find(addresses.begin(), addresses.end(), address) != addresses.end();
    if (!known && address.family() != Family::none) addresses.push_back(address);
  }
  if (addresses.empty()) return Error(Origin::resolver, EAI_NONAME, Step::resolve, host);
  return addresses;
}

}  // namespace warren::os
