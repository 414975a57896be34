#include "os/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <random>
#include <string>

#include "support/catch.h"

namespace warren::os {
namespace {

std::string reread(std::string_view text) {
  const auto address = parseAddress(text, 0);
  return address ? address->host() : "refused";
}

// Mostly zeros and ones, so that runs of zeros are common.
std::array<uint8_t, 16> randomIpv6(std::mt19937& random) {
  std::array<uint8_t, 16> ip;
  for (uint8_t& byte : ip) {
    const auto draw = random();
    byte = draw % 3 != 0 ? 0 : static_cast<uint8_t>(draw >> 8);
  }
  return ip;
}

template <class Name>
Address fromName(const Name& name, size_t size = sizeof(Name)) {
  return fromSockaddr(reinterpret_cast<const sockaddr*>(&name), static_cast<uint32_t>(size));
}

TEST_CASE("an IPv4 address is four decimal parts", "[address]") {
  const auto address = parseAddress("192.168.0.255", 8080);
  REQUIRE(address);
  REQUIRE(address->family() == Family::ipv4);
  REQUIRE(address->port() == 8080);
  REQUIRE(address->scope() == 0);
  REQUIRE(address->ip() == std::array<uint8_t, 16>{192, 168, 0, 255});
  REQUIRE(*address == Address::ipv4({192, 168, 0, 255}, 8080));
  REQUIRE(reread("0.0.0.0") == "0.0.0.0");
  REQUIRE(reread("255.255.255.255") == "255.255.255.255");
}

TEST_CASE("an IPv6 address is written as RFC 5952 wants it", "[address]") {
  const auto [given, written] = GENERATE(table<std::string, std::string>({
      {"::", "::"},
      {"::1", "::1"},
      {"1::", "1::"},
      {"0:0:0:0:0:0:0:0", "::"},
      {"0000:0000:0000:0000:0000:0000:0000:0001", "::1"},
      // 4.1 no leading zeros, 4.3 lower case
      {"2001:0db8::0001", "2001:db8::1"},
      {"2001:DB8::AbCd", "2001:db8::abcd"},
      // 4.2.1 as short as possible
      {"2001:db8:0:0:0:0:2:1", "2001:db8::2:1"},
      {"2001:db8::0:1", "2001:db8::1"},
      // 4.2.2 not for a single group
      {"2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
      {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
      {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
      // 4.2.3 the longest run, of equal ones the first
      {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
      {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
      {"0:0:0:1:0:0:0:0", "0:0:0:1::"},
      {"1:0:0:0:0:0:0:0", "1::"},
      // 5 the last 32 bits of IPv4-mapped addresses in decimal, no others
      {"::ffff:1.2.3.4", "::ffff:1.2.3.4"},
      {"::FFFF:c000:280", "::ffff:192.0.2.128"},
      {"::1.2.3.4", "::102:304"},
      {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
      {"1:2:3:4:5:6:7.8.9.10", "1:2:3:4:5:6:708:90a"},
      {"::ffff:0:1.2.3.4", "::ffff:0:102:304"},
      {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
      {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
  }));
  CAPTURE(given);
  REQUIRE(reread(given) == written);
  REQUIRE(reread(written) == written);
}

TEST_CASE("what is no numeric address is refused", "[address]") {
  const std::string text = GENERATE(values<std::string>({
      // names and nothing
      "",
      " ",
      "localhost",
      "example.com",
      "1.2.3.4.example.com",
      "*",
      "[::1]",
      "127.0.0.1:80",
      // IPv4: number of parts, dots
      "1",
      "1.2",
      "1.2.3",
      "1.2.3.4.5",
      "1.2.3.",
      ".1.2.3",
      "1.2.3.4.",
      ".1.2.3.4",
      "1..2.3",
      "....",
      // IPv4: leading zeros, other bases, limits, signs, spaces
      "01.2.3.4",
      "1.2.3.00",
      "1.2.3.010",
      "0x7f.0.0.1",
      "0x7f000001",
      "2130706433",
      "1.2.3.256",
      "1.2.3.1000",
      "1.2.3.99999999999999999999",
      "-1.2.3.4",
      "+1.2.3.4",
      "1.2.3.-4",
      " 1.2.3.4",
      "1.2.3.4 ",
      "1. 2.3.4",
      "1.2.3.4\n",
      "1.2.3.a",
      "1.2.3.4/8",
      "1.2.3.4%1",
      // IPv6: number of groups, colons
      ":",
      ":::",
      "::::",
      "1",
      "1:2",
      "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9",
      "1:2:3:4:5:6:7:8:",
      ":1:2:3:4:5:6:7:8",
      "1::2::3",
      "::1::",
      "1:::2",
      ":1",
      "1:",
      "1::2:",
      ":1::2",
      "1:2:3:4:5:6:7:8::",
      "::1:2:3:4:5:6:7:8",
      "1:2:3:4::5:6:7:8",
      "1:2:3:4:5:6:7::8",
      // IPv6: groups
      "12345::",
      "::00001",
      "::g",
      "::0x1",
      "::-1",
      "::+1",
      ":: 1",
      " ::1",
      "::1 ",
      "::1\t",
      "::1/64",
      "::1.",
      "::.1",
      // IPv6: IPv4 inside
      "::1.2.3",
      "::1.2.3.4.5",
      "::1.2.3.",
      "::1.2.3.256",
      "::01.2.3.4",
      "::ffff:1.2.3.04",
      "::1.2.3.4:5",
      "1.2.3.4::",
      "1.2.3.4:5::",
      "1:2:3:4:5:6:7:1.2.3.4",
      "1:2:3:4:5:1.2.3.4",
      "1:2:3:4:5:6::1.2.3.4",
      "::ffff:1.2.3.4:80",
      "::ffff:0x1.2.3.4",
      // scopes
      "fe80::1%",
      "fe80::1%%",
      "fe80::1%1%2",
      "fe80::1%01",
      "fe80::1%00",
      "fe80::1%-1",
      "fe80::1%+1",
      "fe80::1% 1",
      "fe80::1%1 ",
      "fe80::1%4294967296",
      "fe80::1%99999999999999999999",
      "%1",
      "::%",
      "fe80::1%no-such-interface-",
      "fe80::1%longer-than-any-interface-name",
  }));
  CAPTURE(text);
  REQUIRE(!parseAddress(text, 0));
}

TEST_CASE("a NUL byte is no end of an address", "[address]") {
  using namespace std::string_view_literals;
  REQUIRE(!parseAddress("1.2.3.4\0"sv, 0));
  REQUIRE(!parseAddress("1.2.3.4\0.5"sv, 0));
  REQUIRE(!parseAddress("::1\0"sv, 0));
  REQUIRE(!parseAddress("fe80::1%1\0"sv, 0));
  REQUIRE(!parseAddress("fe80::1%lo\0x"sv, 0));
}

TEST_CASE("the longest numeric address is read and a longer text is not looked at", "[address]") {
  const std::string longest = "0000:0000:0000:0000:0000:ffff:255.255.255.255%4294967295";
  REQUIRE(reread(longest) == "::ffff:255.255.255.255%4294967295");
  REQUIRE(!parseAddress("::" + std::string(kMaxAddressText - 2, '0'), 0));
  REQUIRE(!parseAddress("::" + std::string(kMaxAddressText - 1, '0'), 0));
  REQUIRE(!parseAddress(std::string(1 << 20, ':'), 0));
}

TEST_CASE("a scope is a number or the name of an interface", "[address]") {
  REQUIRE(parseAddress("fe80::1%7", 0)->scope() == 7);
  REQUIRE(parseAddress("fe80::1%4294967295", 0)->scope() == 4294967295);
  REQUIRE(reread("fe80::1%7") == "fe80::1%7");
  REQUIRE(reread("fe80::1%0") == "fe80::1");  // RFC 4007, 6: 0 is the default zone
  struct if_nameindex* const interfaces = if_nameindex();
  if (interfaces == nullptr || interfaces[0].if_index == 0) return;
  const std::string name = interfaces[0].if_name;
  const uint32_t index = interfaces[0].if_index;
  if_freenameindex(interfaces);
  REQUIRE(parseAddress("fe80::1%" + name, 0)->scope() == index);
}

TEST_CASE("text shows host and port", "[address]") {
  REQUIRE(Address::ipv4({127, 0, 0, 1}, 80).text() == "127.0.0.1:80");
  REQUIRE(parseAddress("::1", 65535)->text() == "[::1]:65535");
  REQUIRE(parseAddress("fe80::1%2", 0)->text() == "[fe80::1%2]:0");
  REQUIRE(Address::unix().text() == "unix");
  REQUIRE(Address::unix().host().empty());
  REQUIRE(Address().text().empty());
  REQUIRE(Address().host().empty());
}

TEST_CASE("addresses are equal when all their parts are", "[address]") {
  const std::array<uint8_t, 16> ip{0xfe, 0x80};
  REQUIRE(Address::ipv6(ip, 1, 2) == Address::ipv6(ip, 1, 2));
  REQUIRE(Address::ipv6(ip, 1, 2) != Address::ipv6(ip, 1, 3));
  REQUIRE(Address::ipv6(ip, 1, 2) != Address::ipv6(ip, 2, 2));
  REQUIRE(Address::ipv4({}, 0) != Address::ipv6({}, 0));
  REQUIRE(Address::unix() != Address());
}

TEST_CASE("any address comes back from its text and from its kernel form", "[address]") {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    const auto ip = randomIpv6(random);
    const auto port = static_cast<uint16_t>(random());
    const uint32_t scope = random() % 2 == 0 ? 0 : static_cast<uint32_t>(random());
    const Address address = random() % 4 == 0 ? Address::ipv4({ip[0], ip[1], ip[2], ip[3]}, port)
                                              : Address::ipv6(ip, port, scope);
    sockaddr_storage name;
    const uint32_t size = toSockaddr(address, name);
    const auto fromText = parseAddress(address.host(), port);
    const Address fromKernel = fromName(name, size);
    if (fromText == address && fromKernel == address) continue;
    FAIL(address.text());
  }
}

TEST_CASE("texts are read and refused as by inet_pton", "[address]") {
  static constexpr std::string_view kLetters = "0123456789abfF:::::...%xg";
  std::mt19937 random(2);
  int accepted = 0;
  for (int round = 0; round < 200000; ++round) {
    const auto ip = randomIpv6(random);
    std::string text = round % 4 == 0 ? Address::ipv4({ip[0], ip[4], ip[5], ip[6]}, 0).host()
                                      : Address::ipv6(ip, 0).host();
    for (auto edits = random() % 4; edits > 0; --edits) {
      const size_t at = random() % (text.size() + 1);
      const char letter = kLetters[random() % kLetters.size()];
      if (random() % 2 == 0) text.insert(at, 1, letter);
      if (random() % 2 == 0 && at < text.size()) text.erase(at, 1);
    }
    if (text.find('%') != text.npos) continue;  // inet_pton knows no scopes
    std::array<uint8_t, 16> expected{};
    const bool valid = inet_pton(AF_INET, text.c_str(), expected.data()) == 1 ||
                       inet_pton(AF_INET6, text.c_str(), expected.data()) == 1;
    const auto address = parseAddress(text, 0);
    accepted += valid;
    if (valid == address.has_value() && (!valid || address->ip() == expected)) continue;
    FAIL(text);
  }
  REQUIRE(accepted > 50000);
}

TEST_CASE("a kernel form that is cut short or unknown is no address", "[address]") {
  sockaddr_storage name;
  const uint32_t size4 = toSockaddr(Address::ipv4({1, 2, 3, 4}, 5), name);
  REQUIRE(size4 == sizeof(sockaddr_in));
  REQUIRE(fromName(name, size4 - 1) == Address());
  const uint32_t size6 = toSockaddr(*parseAddress("::1", 5), name);
  REQUIRE(size6 == sizeof(sockaddr_in6));
  REQUIRE(fromName(name, size6 - 1) == Address());
  REQUIRE(fromName(name, 1) == Address());
  REQUIRE(fromSockaddr(nullptr, 0) == Address());
  name.ss_family = AF_UNSPEC;
  REQUIRE(fromName(name) == Address());
}

TEST_CASE("a unix socket's name is the bare fact", "[address]") {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::strcpy(name.sun_path, "/tmp/somewhere");
  REQUIRE(fromName(name) == Address::unix());
  REQUIRE(fromName(name, offsetof(sockaddr_un, sun_path)) == Address::unix());  // unnamed
}

}  // namespace
}  // namespace warren::os
