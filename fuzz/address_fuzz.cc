// Addresses as text and as the kernel has them. The first byte says which: text is read and compared
// with what inet_pton reads; bytes become an address that must survive being printed, and being given
// to the kernel and back.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <string>
#include <vector>

#include "fuzz.h"
#include "os/address.h"

// Interfaces are the machine's; here there is one.
extern "C" unsigned if_nametoindex(const char* name) noexcept {
  return std::strcmp(name, "lo") == 0 ? 1 : 0;
}

namespace warren::fuzz {
namespace {

void requireSurvives(const Address& address) {
  require(os::parseAddress(address.host(), address.port()) == address);
  sockaddr_storage storage;
  const uint32_t size = os::toSockaddr(address, storage);
  require(os::fromSockaddr(reinterpret_cast<const sockaddr*>(&storage), size) == address);
  const bool wide = address.family() == Family::ipv6;
  require(address.text() == (wide ? '[' + address.host() + ']' : address.host()) + ':' +
                                std::to_string(address.port()));
}

// RFC 5952 and inet_ntop differ in ::1.2.3.4 alone.
void requirePrintedAsByOthers(const Address& address) {
  const bool wide = address.family() == Family::ipv6;
  const auto& ip = address.ip();
  if (wide && std::all_of(ip.begin(), ip.begin() + 12, [](uint8_t each) { return each == 0; })) {
    return;
  }
  char text[INET6_ADDRSTRLEN];
  require(inet_ntop(wide ? AF_INET6 : AF_INET, ip.data(), text, sizeof text) != nullptr);
  const std::string host = address.host();
  require(host.substr(0, host.find('%')) == text);
}

void readText(const std::string& text) {
  const std::optional<Address> read = os::parseAddress(text, 80);
  if (read) {
    require(read->port() == 80);
    requireSurvives(*read);
    requirePrintedAsByOthers(*read);
  }
  const std::string host = text.substr(0, text.find('%'));
  std::array<uint8_t, 16> ip{};
  const bool nul = host.find('\0') != std::string::npos;
  const bool narrow = !nul && inet_pton(AF_INET, host.c_str(), ip.data()) == 1;
  const bool wide = !nul && inet_pton(AF_INET6, host.c_str(), ip.data()) == 1;
  if (host.size() == text.size() && text.size() <= os::kMaxAddressText) {
    require(read.has_value() == (narrow || wide));
  }
  if (!read) return;
  require(read->family() == (wide ? Family::ipv6 : Family::ipv4) && read->ip() == ip);
}

void makeOne(Input& input) {
  std::array<uint8_t, 16> ip;
  const bool wide = input.byte() % 2 != 0;
  const auto port = static_cast<uint16_t>(input.number(2));
  for (uint8_t& each : ip) each = input.byte();
  const Address made = wide ? Address::ipv6(ip, port, static_cast<uint32_t>(input.number(4)))
                            : Address::ipv4({ip[0], ip[1], ip[2], ip[3]}, port);
  requireSurvives(made);
  requirePrintedAsByOthers(made);
  require(made.withPort(1).port() == 1 && made.withPort(port) == made);
}

// Whatever the kernel may say, with whatever size: nothing beyond it is read.
void readSockaddr(Input& input) {
  const sa_family_t families[] = {AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC};
  const sa_family_t family = families[input.below(4)];
  const Bytes rest = input.rest();
  std::vector<std::byte> name(rest.begin(), rest.end());
  if (name.size() >= sizeof family) std::memcpy(name.data(), &family, sizeof family);
  const Address read = os::fromSockaddr(reinterpret_cast<const sockaddr*>(name.data()),
                                        static_cast<uint32_t>(name.size()));
  if (read.family() == Family::ipv4 || read.family() == Family::ipv6) return requireSurvives(read);
  require(read.host().empty() && read.port() == 0);
  require(read.text() == (read.family() == Family::unix ? "unix" : ""));
}

// Messages tell a path that has no room, and by how much.
void printPath(const std::string& path) {
  const bool abstract = path.starts_with('\0');
  const size_t size = path.size() + (abstract ? 0 : 1);
  const size_t room = sizeof(sockaddr_un::sun_path);
  std::string expected = "unix " + (abstract ? '@' + path.substr(1) : path);
  if (size > room) expected += " has " + std::to_string(size - room) + " bytes too many";
  require(os::unixText(path) == expected);
}

void run(Bytes bytes) {
  Input input(bytes);
  switch (input.byte() % 4) {
    case 0:
      return makeOne(input);
    case 1:
      return readSockaddr(input);
    case 2:
      return printPath(std::string(asText(input.rest())));
    default:
      return readText(std::string(asText(input.rest())));
  }
}

const Target target("address", run);

}  // namespace
}  // namespace warren::fuzz
