#include "net/dialer.h"

#include "support/catch.h"

namespace warren::net {
namespace {

Address v4(uint8_t last) { return Address::ipv4({10, 0, 0, last}, 0); }

Address v6(uint8_t last) {
  std::array<uint8_t, 16> ip{0x20, 0x01};
  ip[15] = last;
  return Address::ipv6(ip, 0);
}

using Addresses = std::vector<Address>;

TEST_CASE("families take turns, in their own order, the first one's first") {
  REQUIRE(interleave({v6(1), v6(2), v4(1), v4(2)}) == Addresses{v6(1), v4(1), v6(2), v4(2)});
  REQUIRE(interleave({v4(1), v4(2), v6(1), v6(2)}) == Addresses{v4(1), v6(1), v4(2), v6(2)});
  REQUIRE(interleave({v4(1), v6(1), v4(2)}) == Addresses{v4(1), v6(1), v4(2)});
}

TEST_CASE("what one family has more follows at the end") {
  REQUIRE(interleave({v6(1), v6(2), v6(3), v4(1)}) == Addresses{v6(1), v4(1), v6(2), v6(3)});
  REQUIRE(interleave({v4(1), v6(1), v6(2), v6(3)}) == Addresses{v4(1), v6(1), v6(2), v6(3)});
}

TEST_CASE("one family, one address and none stay as they are") {
  REQUIRE(interleave({v4(3), v4(1), v4(2)}) == Addresses{v4(3), v4(1), v4(2)});
  REQUIRE(interleave({v6(1)}) == Addresses{v6(1)});
  REQUIRE(interleave({}).empty());
}

}  // namespace
}  // namespace warren::net
