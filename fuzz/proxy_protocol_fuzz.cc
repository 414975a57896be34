// Feeds a stream to ProxyParser whole, byte by byte and in two pieces, parted at every byte: all must
// agree, take nothing beyond the header, and what they read must survive being written and read again.
// The first byte says where a long stream is parted. The same bytes are also read as a network.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "fuzz.h"
#include "net/proxy_protocol.h"
#include "warren/bytes.h"

namespace warren::fuzz {
namespace {

using net::ProxyParser;
using Stage = ProxyParser::Stage;

struct Reading {
  Reading(Bytes stream, size_t maxHeader, size_t first, size_t piece) : parser(maxHeader) {
    take(stream.first(first));
    for (size_t at = first; at < stream.size(); at += piece) {
      take(stream.subspan(at, std::min(piece, stream.size() - at)));
    }
  }

  void take(Bytes bytes) {
    const bool over = parser.stage() != Stage::more;
    const size_t count = parser.feed(bytes);
    require(count <= bytes.size());
    require(!over || count == 0);
    require(parser.stage() != Stage::more || count == bytes.size());
    taken += count;
  }

  ProxyParser parser;
  size_t taken = 0;
};

void requireSame(const ProxyHeader& left, const ProxyHeader& right) {
  require(left.version == right.version && left.local == right.local);
  require(left.source == right.source && left.destination == right.destination);
  require(left.tlvs.size() == right.tlvs.size());
  for (size_t index = 0; index < left.tlvs.size(); ++index) {
    require(left.tlvs[index].type == right.tlvs[index].type);
    require(left.tlvs[index].value == right.tlvs[index].value);
  }
}

void requireSame(const Reading& left, const Reading& right) {
  require(left.parser.stage() == right.parser.stage());
  require(left.parser.problem() == right.parser.problem());
  require(left.taken == right.taken);
  requireSame(left.parser.header(), right.parser.header());
}

// How long a header is that the parser took: by its line end, or its length field.
size_t headerSize(std::string_view stream) {
  if (stream.front() == 'P') return stream.find("\r\n") + 2;
  return 16 + static_cast<uint8_t>(stream[14]) * size_t{256} + static_cast<uint8_t>(stream[15]);
}

void requireRewritable(ProxyHeader header) {
  if (header.local || header.source.family() == Family::unix) return;
  const std::string text = header.version == 1
                               ? net::proxyHeaderV1(header.source, header.destination)
                               : net::proxyHeaderV2(header.source, header.destination, header.tlvs);
  const Reading again(asBytes(text), 65535 + 16, 0, text.size());
  require(again.parser.stage() == Stage::done && again.taken == text.size());
  // Padding is not written again, so the checksum is another.
  for (size_t index = 0; index < header.tlvs.size(); ++index) {
    ProxyTlv& tlv = header.tlvs[index];
    if (tlv.type == 3) tlv.value = again.parser.header().tlvs.at(index).value;
  }
  requireSame(again.parser.header(), header);
}

void readInAllPieces(Bytes stream, size_t split, size_t maxHeader) {
  const Reading whole(stream, maxHeader, stream.size(), 1);
  requireSame(whole, Reading(stream, maxHeader, split, stream.size()));
  requireSame(whole, Reading(stream, maxHeader, 0, 1));
  // Of a long one, the part where a header is decided on.
  for (size_t at = 1; at < std::min<size_t>(stream.size(), 120); ++at) {
    requireSame(whole, Reading(stream, maxHeader, at, stream.size()));
  }
  const Stage stage = whole.parser.stage();
  require(whole.parser.problem().empty() == (stage != Stage::malformed));
  require(whole.taken <= maxHeader);
  require(stage != Stage::more || whole.taken < maxHeader);
  if (stage != Stage::done) return;
  require(whole.taken == headerSize(asText(stream)));
  requireRewritable(whole.parser.header());
}

// A network holds its own address and the last one of it, and neither its neighbour nor the other
// family.
void readNetwork(std::string_view text) {
  const std::optional<net::Network> network = net::parseNetwork(text);
  if (!network) return;
  const Address& address = network->address;
  require(network->contains(address));
  const bool narrow = address.family() == Family::ipv4;
  const size_t width = narrow ? 32 : 128;
  const auto bits = static_cast<size_t>(network->bits);
  require(bits <= width);
  std::array<uint8_t, 16> ip = address.ip();
  const auto made = [&] {
    return narrow ? Address::ipv4({ip[0], ip[1], ip[2], ip[3]}, 0)
                  : Address::ipv6(ip, 0, address.scope());
  };
  for (size_t bit = bits; bit < width; ++bit) {
    require((ip[bit / 8] >> (7 - bit % 8) & 1) == 0);
    ip[bit / 8] = static_cast<uint8_t>(ip[bit / 8] | 1 << (7 - bit % 8));
  }
  // ::/80 ends with IPv4 addresses in IPv6 clothes, which count as IPv4.
  require(network->contains(made()) || made().host().starts_with("::ffff:255."));
  if (bits == 0) return;
  ip[(bits - 1) / 8] = static_cast<uint8_t>(ip[(bits - 1) / 8] ^ 1 << (7 - (bits - 1) % 8));
  require(!network->contains(made()));
  require(!network->contains(Address()));
}

void run(Bytes input) {
  if (input.empty()) return;
  const Bytes stream = input.subspan(1);
  const size_t split = static_cast<size_t>(input[0]) % (stream.size() + 1);
  readInAllPieces(stream, split, 4096);
  readInAllPieces(stream, split, 64);
  readNetwork(asText(stream));
}

const Target target("proxy_protocol", run);

}  // namespace
}  // namespace warren::fuzz
