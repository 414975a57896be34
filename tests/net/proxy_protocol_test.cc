#include "net/proxy_protocol.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "os/address.h"
#include "support/catch.h"

using namespace std::string_literals;

namespace warren::net {
namespace {

using Stage = ProxyParser::Stage;

constexpr size_t kMaxHeader = 4096;
const std::string kSignature = "\r\n\r\n\0\r\nQUIT\n"s;
const std::string kPayload = "\r\n\r\nPROXY GET / HTTP/1.1\r\n\r\n";

Address at(std::string_view host, uint16_t port) { return os::parseAddress(host, port).value(); }

std::string number(size_t value) {
  return {static_cast<char>(value >> 8 & 0xff), static_cast<char>(value & 0xff)};
}

// A version 2 header with a length that fits what follows.
std::string v2(char command, char family, const std::string& rest) {
  return kSignature + command + family + number(rest.size()) + rest;
}

std::string tlv(char type, const std::string& value) { return type + number(value.size()) + value; }

// Addresses 192.168.0.1:56324 and 192.168.0.11:443.
const std::string kInet = "\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb"s;
// Addresses [2001:db8::1]:56324 and [2001:db8::b]:443.
const std::string kInet6 = "\x20\x01\x0d\xb8"s + std::string(11, '\0') + "\x01\x20\x01\x0d\xb8"s +
                           std::string(11, '\0') + "\x0b\xdc\x04\x01\xbb"s;

// What AWS sends for an endpoint service, as its documentation shows it: with a checksum of theirs.
const std::string kAws =
    v2('\x21', '\x11',
       "\xac\x1f\x07\x71\xac\x1f\x0a\x1f\xc8\xf2\x00\x50"s + tlv('\x03', "\xe8\xd6\x89\x2d") +
           tlv('\xea', "\x01vpce-08d2bf15fac5001c9") + tlv('\x04', std::string(36, '\0')));

struct Outcome {
  Stage stage;
  size_t taken;
  std::string problem;
  ProxyHeader header;
};

bool sameTlvs(const ProxyHeader& left, const ProxyHeader& right) {
  return std::equal(left.tlvs.begin(), left.tlvs.end(), right.tlvs.begin(), right.tlvs.end(),
                    [](const ProxyTlv& one, const ProxyTlv& other) {
                      return one.type == other.type && one.value == other.value;
                    });
}

bool operator==(const Outcome& left, const Outcome& right) {
  return left.stage == right.stage && left.taken == right.taken && left.problem == right.problem &&
         left.header.version == right.header.version && left.header.local == right.header.local &&
         left.header.source == right.header.source &&
         left.header.destination == right.header.destination && sameTlvs(left.header, right.header);
}

// Feeds `first` bytes, and then the rest in pieces of `piece` bytes.
Outcome parse(std::string_view text, size_t first = 0, size_t piece = ~size_t{0},
              size_t maxHeader = kMaxHeader) {
  ProxyParser parser(maxHeader);
  size_t taken = parser.feed(asBytes(text.substr(0, first)));
  text.remove_prefix(first);
  while (!text.empty()) {
    const std::string_view next = text.substr(0, piece);
    taken += parser.feed(asBytes(next));
    text.remove_prefix(next.size());
  }
  return {parser.stage(), taken, std::string(parser.problem()), parser.header()};
}

// Parses in every way and finds that all say the same.
Outcome parseEveryWay(const std::string& text, size_t maxHeader = kMaxHeader) {
  const Outcome whole = parse(text, 0, text.size(), maxHeader);
  REQUIRE((parse(text, 0, 1, maxHeader) == whole));
  for (size_t split = 1; split <= text.size(); ++split) {
    REQUIRE((parse(text, split, text.size(), maxHeader) == whole));
  }
  return whole;
}

// The header of `text`, which is one from its first byte to its last.
ProxyHeader read(const std::string& text) {
  INFO(text);
  const Outcome alone = parseEveryWay(text);
  CHECK(alone.problem == "");
  REQUIRE(alone.stage == Stage::done);
  REQUIRE(alone.taken == text.size());
  REQUIRE((parseEveryWay(text + kPayload) == alone));
  const Outcome cut = parseEveryWay(text.substr(0, text.size() - 1));
  REQUIRE(cut.stage == Stage::more);
  REQUIRE(cut.taken == text.size() - 1);
  return alone.header;
}

// What is wrong with `text`, once its last byte is there and not before.
std::string problemOf(const std::string& text, size_t maxHeader = kMaxHeader) {
  INFO(text);
  const Outcome outcome = parseEveryWay(text, maxHeader);
  REQUIRE(outcome.stage == Stage::malformed);
  CHECK(outcome.taken == text.size());
  CHECK(outcome.header.version == 0);
  CHECK(outcome.header.tlvs.empty());
  REQUIRE((parse(text + kPayload, 0, 7, maxHeader) == outcome));
  REQUIRE(parse(text.substr(0, text.size() - 1), 0, 7, maxHeader).stage == Stage::more);
  return outcome.problem;
}

void requireOpen(const ProxyHeader& header, int version) {
  REQUIRE(header.version == version);
  REQUIRE(header.local);
  REQUIRE(header.source == Address());
  REQUIRE(header.destination == Address());
}

void requireEnds(const ProxyHeader& header, const Address& source, const Address& destination) {
  REQUIRE_FALSE(header.local);
  REQUIRE(header.source.text() == source.text());
  REQUIRE(header.source == source);
  REQUIRE(header.destination.text() == destination.text());
  REQUIRE(header.destination == destination);
}

// --- version 1 ---

TEST_CASE("a v1 header names both ends", "[proxy]") {
  const ProxyHeader inet = read("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
  REQUIRE(inet.version == 1);
  requireEnds(inet, at("192.168.0.1", 56324), at("192.168.0.11", 443));
  const ProxyHeader inet6 = read("PROXY TCP6 2001:DB8::1 ::ffff:10.0.0.1 0 65535\r\n");
  REQUIRE(inet6.version == 1);
  requireEnds(inet6, at("2001:db8::1", 0), at("::ffff:10.0.0.1", 65535));
}

TEST_CASE("the longest v1 lines of the specification are taken", "[proxy]") {
  const std::string ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  const std::string ends = ones + ' ' + ones + " 65535 65535\r\n";
  REQUIRE(("PROXY UNKNOWN " + ends).size() == 107);
  requireOpen(read("PROXY UNKNOWN " + ends), 1);
  requireEnds(read("PROXY TCP6 " + ends), at(ones, 65535), at(ones, 65535));
  requireEnds(read("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
              at("255.255.255.255", 65535), at("255.255.255.255", 65535));
}

TEST_CASE("v1 UNKNOWN leaves the ends open, whatever else the line has", "[proxy]") {
  requireOpen(read("PROXY UNKNOWN\r\n"), 1);
  requireOpen(read("PROXY UNKNOWN \r\n"), 1);
  requireOpen(read("PROXY UNKNOWN  what \0\xff? 1.2.3 -1\r\n"s), 1);
}

TEST_CASE("what is no PROXY header is refused at the first byte that shows it", "[proxy]") {
  for (const std::string& header : {"PROXY "s, kSignature}) {
    for (size_t size = 0; size < header.size(); ++size) {
      REQUIRE(problemOf(header.substr(0, size) + 'x') == "no PROXY header");
    }
  }
  REQUIRE(parse("GET / HTTP/1.1\r\n\r\n").taken == 1);
  REQUIRE(parse("\x16\x03\x01\x02\x00\x01\x00").taken == 1);  // TLS
  REQUIRE(parse("POST / HTTP/1.1\r\n\r\n").taken == 2);
  REQUIRE(problemOf("p") == "no PROXY header");
  REQUIRE(problemOf("PROXY\r") == "no PROXY header");
}

TEST_CASE("a malformed v1 header is refused, with the reason", "[proxy]") {
  const auto [line, problem] = GENERATE(table<std::string, std::string>({
      {" TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "v1: not TCP4, TCP6 or UNKNOWN"},
      {"\r\n", "v1: not TCP4, TCP6 or UNKNOWN"},
      {"TCP5 1.2.3.4 5.6.7.8 1 2\r\n", "v1: not TCP4, TCP6 or UNKNOWN"},
      {"tcp4 1.2.3.4 5.6.7.8 1 2\r\n", "v1: not TCP4, TCP6 or UNKNOWN"},
      {"UDP4 1.2.3.4 5.6.7.8 1 2\r\n", "v1: not TCP4, TCP6 or UNKNOWN"},
      {"UNKNOWNS\r\n", "v1: not TCP4, TCP6 or UNKNOWN"},
      {"TCP4\t1.2.3.4 5.6.7.8 1 2\r\n", "v1: not TCP4, TCP6 or UNKNOWN"},
      {"TCP4\r\n", "v1: not two addresses and two ports with single spaces"},
      {"TCP4 \r\n", "v1: not two addresses and two ports with single spaces"},
      {"TCP4 1.2.3.4 5.6.7.8 1\r\n", "v1: not two addresses and two ports with single spaces"},
      {"TCP4  1.2.3.4 5.6.7.8 1 2\r\n", "v1: not two addresses and two ports with single spaces"},
      {"TCP4 1.2.3.4  5.6.7.8 1 2\r\n", "v1: not two addresses and two ports with single spaces"},
      {"TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", "v1: not two addresses and two ports with single spaces"},
      {"TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", "v1: not two addresses and two ports with single spaces"},
      {"TCP4 1.2.3.4 5.6.7.8 1 \r\n", "v1: malformed port"},
      {"TCP4 1.2.3.4 5.6.7.8  2\r\n", "v1: malformed port"},
      {"TCP4 1.2.3.4 5.6.7.8 01 2\r\n", "v1: malformed port"},
      {"TCP4 1.2.3.4 5.6.7.8 1 00\r\n", "v1: malformed port"},
      {"TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", "v1: malformed port"},
      {"TCP4 1.2.3.4 5.6.7.8 4294967297 2\r\n", "v1: malformed port"},
      {"TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", "v1: malformed port"},
      {"TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", "v1: malformed port"},
      {"TCP4 1.2.3.4 5.6.7.8 0x1 2\r\n", "v1: malformed port"},
      {"TCP4 1.2.3.4 5.6.7.8 1 2\t\r\n", "v1: malformed port"},
      {"TCP4 1.2.3.4\t 5.6.7.8 1 2\r\n", "v1: malformed address"},
      {"TCP4 1.2.3 5.6.7.8 1 2\r\n", "v1: malformed address"},
      {"TCP4 1.2.3.4 5.6.7.08 1 2\r\n", "v1: malformed address"},
      {"TCP4 1.2.3.4 5.6.7.256 1 2\r\n", "v1: malformed address"},
      {"TCP4 localhost 5.6.7.8 1 2\r\n", "v1: malformed address"},
      {"TCP4 ::1 ::2 1 2\r\n", "v1: malformed address"},
      {"TCP4 1.2.3.4 ::2 1 2\r\n", "v1: malformed address"},
      {"TCP6 1.2.3.4 5.6.7.8 1 2\r\n", "v1: malformed address"},
      {"TCP6 ::1 5.6.7.8 1 2\r\n", "v1: malformed address"},
      {"TCP6 [::1] ::2 1 2\r\n", "v1: malformed address"},
      {"TCP6 ::1 1::2::3 1 2\r\n", "v1: malformed address"},
      {"TCP6 fe80::1%1 fe80::2 1 2\r\n", "v1: malformed address"},
      {"TCP6 fe80::1 fe80::2%lo 1 2\r\n", "v1: malformed address"},
      {"TCP4 1.2.3.4 5.6.7.8 1 2\n", "v1: CR or LF alone"},
      {"TCP4 1.2.3.4 5.6.7.8 1 2\rG", "v1: CR or LF alone"},
      {"TCP4 1.2.3.4 5.6.7.8 1 2\r\r", "v1: CR or LF alone"},
      {"UNKNOWN\n", "v1: CR or LF alone"},
      {"UNKNOWN \rx", "v1: CR or LF alone"},
      {"\n", "v1: CR or LF alone"},
  }));
  REQUIRE(problemOf("PROXY " + line) == problem);
}

TEST_CASE("a zero byte in a v1 address or port is no end of it", "[proxy]") {
  REQUIRE(problemOf("PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n"s) == "v1: malformed address");
  REQUIRE(problemOf("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\0\r\n"s) == "v1: malformed port");
}

TEST_CASE("a v1 line ends within 107 bytes", "[proxy]") {
  const std::string longest = "PROXY UNKNOWN " + std::string(107 - 14 - 2, 'x') + "\r\n";
  requireOpen(read(longest), 1);
  REQUIRE(problemOf("PROXY UNKNOWN " + std::string(107 - 14, 'x')) ==
          "v1: no line end within 107 bytes");
  REQUIRE(problemOf("PROXY UNKNOWN " + std::string(107 - 14 - 1, 'x') + '\r') ==
          "v1: no line end within 107 bytes");
}

// --- version 2 ---

TEST_CASE("a v2 header names both ends", "[proxy]") {
  const ProxyHeader inet = read(v2('\x21', '\x11', kInet));
  REQUIRE(inet.version == 2);
  REQUIRE(inet.tlvs.empty());
  requireEnds(inet, at("192.168.0.1", 56324), at("192.168.0.11", 443));
  const ProxyHeader inet6 = read(v2('\x21', '\x21', kInet6));
  REQUIRE(inet6.version == 2);
  requireEnds(inet6, at("2001:db8::1", 56324), at("2001:db8::b", 443));
}

TEST_CASE("a v2 header for a unix socket says so", "[proxy]") {
  const std::string paths = "/client" + std::string(101, '\0') + "/server" + std::string(101, '\0');
  const ProxyHeader header = read(v2('\x21', '\x31', paths + tlv('\x05', "id")));
  requireEnds(header, Address::unix(), Address::unix());
  REQUIRE(header.tlvs.size() == 1);
  REQUIRE(header.tlvs[0].value == "id");
}

TEST_CASE("v2 TLVs are handed on in order, without the padding", "[proxy]") {
  const std::string tlvs = tlv('\x01', "h2") + tlv('\x04', "xx") + tlv('\x02', "example.com") +
                           tlv('\xe0', std::string(300, '\0')) + tlv('\x04', "") + tlv('\x02', "");
  for (const std::string& text :
       {v2('\x21', '\x11', kInet + tlvs), v2('\x21', '\x21', kInet6 + tlvs),
        v2('\x20', '\x00', tlvs), v2('\x20', '\x11', kInet + tlvs)}) {
    const ProxyHeader header = read(text);
    REQUIRE(header.tlvs.size() == 4);
    REQUIRE(header.tlvs[0].type == 0x01);
    REQUIRE(header.tlvs[0].value == "h2");
    REQUIRE(header.tlvs[1].type == 0x02);
    REQUIRE(header.tlvs[1].value == "example.com");
    REQUIRE(header.tlvs[2].type == 0xe0);
    REQUIRE(header.tlvs[2].value == std::string(300, '\0'));
    REQUIRE(header.tlvs[3].value.empty());
  }
}

TEST_CASE("a v2 LOCAL header is taken with any family and anything behind it", "[proxy]") {
  for (int family = 0; family <= 0xff; ++family) {
    requireOpen(parse(v2('\x20', static_cast<char>(family), "")).header, 2);
  }
  requireOpen(read(v2('\x20', '\x00', "")), 2);
  requireOpen(read(v2('\x20', '\x12', kInet)), 2);
  requireOpen(read(v2('\x20', '\x21', kInet6)), 2);
  requireOpen(read(v2('\x20', '\xff', "\x01\xff\xff"s)), 2);
  // Addresses that should not be there, or a TLV where they would be: nothing but bytes to skip.
  const ProxyHeader skipped = read(v2('\x20', '\x00', kInet));
  requireOpen(skipped, 2);
  REQUIRE(skipped.tlvs.empty());
  const ProxyHeader without = read(v2('\x20', '\x11', tlv('\x05', "id")));
  requireOpen(without, 2);
  REQUIRE(without.tlvs.size() == 1);
}

TEST_CASE("a v2 header that does not tell the family or transport leaves the ends open",
          "[proxy]") {
  requireOpen(read(v2('\x21', '\x00', "")), 2);
  requireOpen(read(v2('\x21', '\x00', kInet)), 2);
  requireOpen(read(v2('\x21', '\x01', "xy")), 2);
  requireOpen(read(v2('\x21', '\x10', kInet)), 2);
  requireOpen(read(v2('\x21', '\x20', kInet)), 2);
  const ProxyHeader header = read(v2('\x21', '\x10', kInet + tlv('\x05', "id")));
  requireOpen(header, 2);
  REQUIRE(header.tlvs.size() == 1);
}

TEST_CASE("a malformed v2 header is refused as soon as it shows, with the reason", "[proxy]") {
  REQUIRE(problemOf(kSignature + '\x11') == "v2: unknown version");
  REQUIRE(problemOf(kSignature + '\x31') == "v2: unknown version");
  REQUIRE(problemOf(kSignature + '\x22') == "v2: unknown command");
  REQUIRE(problemOf(kSignature + '\x2f') == "v2: unknown command");
  REQUIRE(problemOf(kSignature + "\x21\x41") == "v2: unknown address family");
  REQUIRE(problemOf(kSignature + "\x21\xf0") == "v2: unknown address family");
  REQUIRE(problemOf(kSignature + "\x21\x13") == "v2: unknown transport");
  REQUIRE(problemOf(kSignature + "\x21\x0f") == "v2: unknown transport");
  for (const char* datagram : {"\x21\x12", "\x21\x22", "\x21\x32", "\x21\x02"}) {
    REQUIRE(problemOf(kSignature + datagram) == "v2: datagrams, on a stream");
  }
  REQUIRE(problemOf(kSignature + "\x21\x11\x00\x0b"s) == "v2: too short for its addresses");
  REQUIRE(problemOf(kSignature + "\x21\x21\x00\x23"s) == "v2: too short for its addresses");
  REQUIRE(problemOf(kSignature + "\x21\x31\x00\xd7"s) == "v2: too short for its addresses");
}

TEST_CASE("a v2 TLV that overruns the header is refused", "[proxy]") {
  const auto tail = GENERATE(as<std::string>{}, "\x01", "\x01\x00"s, "\x01\x00\x01"s,
                             "\x01\xff\xff"s, "\x01\x00\x03xy"s, "\x04\x00\x01"s, "\x03\x00"s);
  REQUIRE(problemOf(v2('\x21', '\x11', kInet + tail)) == "v2: a TLV overruns the header");
  REQUIRE(problemOf(v2('\x21', '\x21', kInet6 + tlv('\x05', "id") + tail)) ==
          "v2: a TLV overruns the header");
}

TEST_CASE("a v2 checksum is verified", "[proxy]") {
  const ProxyHeader header = read(kAws);
  requireEnds(header, at("172.31.7.113", 51442), at("172.31.10.31", 80));
  REQUIRE(header.tlvs.size() == 2);
  REQUIRE(header.tlvs[0].type == 0x03);
  REQUIRE(header.tlvs[1].type == 0xea);
  REQUIRE(header.tlvs[1].value == "\x01vpce-08d2bf15fac5001c9");
  // Any one bit of addresses, checksum and values.
  for (size_t index = 16; index < kAws.size(); ++index) {
    const bool lead =
        (index >= 28 && index < 31) || (index >= 35 && index < 38) || (index >= 61 && index < 64);
    if (lead) continue;
    std::string flipped = kAws;
    flipped[index] ^= 0x10;
    REQUIRE(problemOf(flipped) == "v2: wrong checksum");
  }
}

TEST_CASE("a v2 checksum is verified for LOCAL as well", "[proxy]") {
  std::string header = proxyHeaderV2({}, {}, {{3, ""}, {5, "id"}});
  requireOpen(read(header), 2);
  header.back() = '?';
  REQUIRE(problemOf(header) == "v2: wrong checksum");
}

TEST_CASE("a v2 checksum of another size, or a second one, is refused", "[proxy]") {
  REQUIRE(problemOf(v2('\x21', '\x11', kInet + tlv('\x03', "123"))) == "v2: malformed checksum");
  REQUIRE(problemOf(v2('\x21', '\x11', kInet + tlv('\x03', "12345"))) == "v2: malformed checksum");
  REQUIRE(problemOf(v2('\x21', '\x11', kInet + tlv('\x03', "1234") + tlv('\x03', "1234"))) ==
          "v2: two checksums");
}

// --- limits ---

TEST_CASE("a v2 header longer than maxHeader is refused once its length is known", "[proxy]") {
  const std::string header = v2('\x21', '\x11', kInet + tlv('\xe0', "abc"));
  REQUIRE(parseEveryWay(header + kPayload, header.size()).stage == Stage::done);
  REQUIRE(problemOf(header.substr(0, 16), header.size() - 1) == "longer than maxHeader");
  REQUIRE(problemOf(kSignature + "\x20\x00\xff\xff"s, 65550) == "longer than maxHeader");
}

TEST_CASE("the longest v2 header there can be is taken when allowed", "[proxy]") {
  const std::string header = v2('\x20', '\x00', tlv('\xe0', std::string(65532, 'x')));
  REQUIRE(header.size() == 16 + 65535);
  const Outcome outcome = parse(header + kPayload, 1, 1000, 16 + 65535);
  REQUIRE(outcome.stage == Stage::done);
  REQUIRE(outcome.taken == header.size());
  REQUIRE(outcome.header.tlvs.at(0).value.size() == 65532);
}

TEST_CASE("nothing longer than maxHeader is taken, however small it is", "[proxy]") {
  const std::string line = "PROXY UNKNOWN\r\n";
  REQUIRE(parseEveryWay(line + kPayload, line.size()).stage == Stage::done);
  for (size_t most = 1; most < line.size(); ++most) {
    REQUIRE(problemOf(line.substr(0, most), most) == "longer than maxHeader");
  }
  const std::string local = v2('\x20', '\x00', "");
  REQUIRE(parseEveryWay(local + kPayload, local.size()).stage == Stage::done);
  for (size_t most = 1; most < local.size(); ++most) {
    REQUIRE(problemOf(local.substr(0, most), most) == "longer than maxHeader");
  }
  REQUIRE(problemOf("P", 0) == "longer than maxHeader");
}

TEST_CASE("a parser that is done or gave up takes nothing more", "[proxy]") {
  ProxyParser done(kMaxHeader);
  REQUIRE(done.feed({}) == 0);
  REQUIRE(done.stage() == Stage::more);
  REQUIRE(done.feed(asBytes("PROXY UNKNOWN\r\nmore")) == 15);
  REQUIRE(done.feed(asBytes("PROXY UNKNOWN\r\n")) == 0);
  REQUIRE(done.stage() == Stage::done);
  ProxyParser malformed(kMaxHeader);
  REQUIRE(malformed.feed(asBytes("x")) == 1);
  REQUIRE(malformed.feed(asBytes("PROXY UNKNOWN\r\n")) == 0);
  REQUIRE(malformed.stage() == Stage::malformed);
}

// --- writing ---

TEST_CASE("the headers of the specification are written as it shows them", "[proxy]") {
  const Address source = at("192.168.0.1", 56324);
  const Address destination = at("192.168.0.11", 443);
  REQUIRE(proxyHeaderV1(source, destination) ==
          "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
  REQUIRE(proxyHeaderV1(at("2001:db8::1", 56324), at("2001:db8::b", 443)) ==
          "PROXY TCP6 2001:db8::1 2001:db8::b 56324 443\r\n");
  REQUIRE(proxyHeaderV2(source, destination, {}) == v2('\x21', '\x11', kInet));
  REQUIRE(proxyHeaderV2(at("2001:db8::1", 56324), at("2001:db8::b", 443), {{5, "id"}}) ==
          v2('\x21', '\x21', kInet6 + tlv('\x05', "id")));
}

TEST_CASE("a written checksum is computed, whatever the TLV held", "[proxy]") {
  const std::string vpce = "\x01vpce-08d2bf15fac5001c9";
  for (const std::string stale : {"", "1234", "too long by far"}) {
    REQUIRE(proxyHeaderV2(at("172.31.7.113", 51442), at("172.31.10.31", 80),
                          {{0x03, stale}, {0xea, vpce}, {0x04, std::string(36, '\0')}}) == kAws);
  }
}

TEST_CASE("addresses that are no pair make a header that leaves them open", "[proxy]") {
  const Address inet = at("127.0.0.1", 1);
  const Address inet6 = at("::1", 1);
  const auto [source, destination] =
      GENERATE_COPY(table<Address, Address>({{inet, inet6},
                                             {inet6, inet},
                                             {inet, Address()},
                                             {Address(), inet6},
                                             {Address(), Address()},
                                             {Address::unix(), Address::unix()},
                                             {Address::unix(), inet}}));
  REQUIRE(proxyHeaderV1(source, destination) == "PROXY UNKNOWN\r\n");
  REQUIRE(proxyHeaderV2(source, destination, {}) == v2('\x20', '\x00', ""));
  requireOpen(read(proxyHeaderV2(source, destination, {{1, "h2"}})), 2);
}

TEST_CASE("a scope is not written", "[proxy]") {
  const Address scoped = at("fe80::1%7", 80);
  REQUIRE(proxyHeaderV1(scoped, scoped) == "PROXY TCP6 fe80::1 fe80::1 80 80\r\n");
  requireEnds(read(proxyHeaderV2(scoped, scoped, {})), at("fe80::1", 80), at("fe80::1", 80));
}

Address randomAddress(std::mt19937& random, bool six) {
  const auto port = static_cast<uint16_t>(random() % 4 == 0 ? 0 : random());
  std::array<uint8_t, 16> ip{};
  for (uint8_t& byte : ip) byte = static_cast<uint8_t>(random() % 3 == 0 ? random() : 0);
  return six ? Address::ipv6(ip, port) : Address::ipv4({ip[0], ip[1], ip[2], ip[3]}, port);
}

std::vector<ProxyTlv> randomTlvs(std::mt19937& random) {
  std::vector<ProxyTlv> tlvs(random() % 5);
  for (ProxyTlv& one : tlvs) {
    one.type = static_cast<uint8_t>(5 + random() % 250);
    one.value.assign(random() % 40, static_cast<char>(random()));
  }
  if (random() % 2 == 0) tlvs.push_back({3, ""});
  return tlvs;
}

TEST_CASE("what was written is read back", "[proxy]") {
  std::mt19937 random(20);
  for (int round = 0; round < 20000; ++round) {
    const bool six = round % 2 == 0;
    const Address source = randomAddress(random, six);
    const Address destination = randomAddress(random, six);
    const std::vector<ProxyTlv> tlvs = randomTlvs(random);
    const std::string line = proxyHeaderV1(source, destination);
    const std::string binary = proxyHeaderV2(source, destination, tlvs);
    const Outcome first = parse(line + kPayload, random() % line.size());
    const Outcome second = parse(binary + kPayload, random() % binary.size());
    REQUIRE(first.taken == line.size());
    REQUIRE(second.taken == binary.size());
    requireEnds(first.header, source, destination);
    requireEnds(second.header, source, destination);
    REQUIRE(second.header.tlvs.size() == tlvs.size());
    REQUIRE(proxyHeaderV2(source, destination, second.header.tlvs) == binary);
  }
}

TEST_CASE("a header with any byte changed is taken or refused the same in every split", "[proxy]") {
  for (const std::string& header :
       {"PROXY TCP4 10.0.0.1 10.0.0.2 80 90\r\n"s, v2('\x21', '\x11', kInet + tlv('\x05', "id"))}) {
    for (size_t index = 0; index < header.size(); ++index) {
      for (const char byte : {'\0', '\n', '\r', ' ', '1', '\x20', '\xff'}) {
        std::string changed = header;
        changed[index] = byte;
        const Outcome outcome = parseEveryWay(changed);
        REQUIRE((outcome.stage == Stage::malformed) == !outcome.problem.empty());
      }
    }
  }
}

// --- networks ---

bool contains(std::string_view network, std::string_view host) {
  return parseNetwork(network).value().contains(at(host, 1234));
}

TEST_CASE("a network contains the addresses with its first bits", "[proxy]") {
  REQUIRE(contains("10.0.0.0/8", "10.255.0.1"));
  REQUIRE_FALSE(contains("10.0.0.0/8", "11.0.0.0"));
  REQUIRE(contains("192.168.4.0/22", "192.168.7.255"));
  REQUIRE_FALSE(contains("192.168.4.0/22", "192.168.8.0"));
  REQUIRE_FALSE(contains("192.168.4.0/22", "192.168.3.255"));
  REQUIRE(contains("0.0.0.0/0", "255.255.255.255"));
  REQUIRE(contains("127.0.0.1", "127.0.0.1"));
  REQUIRE(contains("127.0.0.1/32", "127.0.0.1"));
  REQUIRE_FALSE(contains("127.0.0.1", "127.0.0.2"));
  REQUIRE(contains("fd00::/8", "fdff::1"));
  REQUIRE_FALSE(contains("fd00::/8", "fc00::1"));
  REQUIRE(contains("2001:db8::/33", "2001:db8:7fff::1"));
  REQUIRE_FALSE(contains("2001:db8::/33", "2001:db8:8000::"));
  REQUIRE(contains("::/0", "2001:db8::1"));
  REQUIRE(contains("::1", "::1"));
  REQUIRE_FALSE(contains("::1", "::2"));
}

TEST_CASE("a network contains addresses of its family only", "[proxy]") {
  REQUIRE_FALSE(contains("0.0.0.0/0", "::1"));
  REQUIRE_FALSE(contains("::/0", "10.0.0.1"));
  REQUIRE_FALSE(parseNetwork("0.0.0.0/0")->contains(Address()));
  REQUIRE_FALSE(parseNetwork("0.0.0.0/0")->contains(Address::unix()));
  REQUIRE_FALSE(Network{}.contains(Address()));
  REQUIRE_FALSE(Network{Address::unix(), 0}.contains(Address::unix()));
}

TEST_CASE("an IPv4 address in IPv6 clothes counts as IPv4, on either side", "[proxy]") {
  REQUIRE(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  REQUIRE_FALSE(contains("10.0.0.0/8", "::ffff:11.1.2.3"));
  REQUIRE_FALSE(contains("::/0", "::ffff:10.1.2.3"));
  REQUIRE(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
  REQUIRE(contains("::ffff:10.0.0.0/104", "::ffff:10.1.2.3"));
  REQUIRE_FALSE(contains("::ffff:10.0.0.0/104", "11.1.2.3"));
  REQUIRE(contains("::ffff:0.0.0.0/96", "11.1.2.3"));
  REQUIRE(contains("::ffff:10.0.0.1", "10.0.0.1"));
  REQUIRE(parseNetwork("::ffff:10.0.0.0/104")->bits == 8);
}

TEST_CASE("a network with a scope contains that scope, one without contains all", "[proxy]") {
  REQUIRE(contains("fe80::/10", "fe80::1%3"));
  REQUIRE(contains("fe80::1%3", "fe80::1%3"));
  REQUIRE_FALSE(contains("fe80::1%3", "fe80::1%4"));
  REQUIRE_FALSE(contains("fe80::%3/10", "fe80::1"));
}

TEST_CASE("what is no network is refused", "[proxy]") {
  const auto text = GENERATE(
      as<std::string>{}, "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8",
      "10.0.0.0/08", "10.0.0.0/8 ", " 10.0.0.0/8", "10.0.0.0/8/8", "10.0.0.0/255.0.0.0", "10.0.0/8",
      "10/8", "::/129", "::/65536", "[::1]", "[::]/0", "localhost", "localhost/8", "*",
      "10.0.0.1/8", "128.0.0.0/0", "fd00::1/8", "::ffff:10.0.0.0/95", "::ffff:10.0.0.1/104");
  INFO(text);
  REQUIRE_FALSE(parseNetwork(text));
}

TEST_CASE("a network agrees with a plain model of its bits", "[proxy]") {
  std::mt19937 random(21);
  for (int round = 0; round < 20000; ++round) {
    const uint32_t bits = static_cast<uint32_t>(random() % 33);
    const uint32_t mask = bits == 0 ? 0 : ~uint32_t{0} << (32 - bits);
    const uint32_t base = static_cast<uint32_t>(random()) & mask;
    const uint32_t host = random() % 2 == 0 ? base ^ (uint32_t{1} << random() % 32)
                                            : base | (static_cast<uint32_t>(random()) & ~mask);
    const auto address = [](uint32_t ip) {
      return Address::ipv4({static_cast<uint8_t>(ip >> 24), static_cast<uint8_t>(ip >> 16 & 0xff),
                            static_cast<uint8_t>(ip >> 8 & 0xff), static_cast<uint8_t>(ip & 0xff)},
                           80);
    };
    const auto network = parseNetwork(address(base).host() + '/' + std::to_string(bits));
    REQUIRE(network);
    REQUIRE(network->contains(address(host)) == ((host & mask) == base));
  }
}

}  // namespace
}  // namespace warren::net
