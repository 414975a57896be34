// Feeds a stream to ProxyParser whole, in two pieces and byte by byte: all three must agree, take
// nothing beyond the header, and what they read must survive being written and read again.
// The first byte says where the two pieces part.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "net/proxy_protocol.h"
#include "warren/bytes.h"

namespace {

using warren::Bytes;
using warren::ProxyHeader;
using warren::net::ProxyParser;
using Stage = ProxyParser::Stage;

void require(bool promise) {
  if (!promise) std::abort();
}

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
  if (header.local || header.source.family() == warren::Family::unix) return;
  const std::string text =
      header.version == 1
          ? warren::net::proxyHeaderV1(header.source, header.destination)
          : warren::net::proxyHeaderV2(header.source, header.destination, header.tlvs);
  const Reading again(warren::asBytes(text), 65535 + 16, 0, text.size());
  require(again.parser.stage() == Stage::done && again.taken == text.size());
  // Padding is not written again, so the checksum is another.
  for (size_t index = 0; index < header.tlvs.size(); ++index) {
    warren::ProxyTlv& tlv = header.tlvs[index];
    if (tlv.type == 3) tlv.value = again.parser.header().tlvs.at(index).value;
  }
  requireSame(again.parser.header(), header);
}

void run(Bytes stream, size_t split, size_t maxHeader) {
  const Reading whole(stream, maxHeader, stream.size(), 1);
  requireSame(whole, Reading(stream, maxHeader, split, stream.size()));
  requireSame(whole, Reading(stream, maxHeader, 0, 1));
  const Stage stage = whole.parser.stage();
  require(whole.parser.problem().empty() == (stage != Stage::malformed));
  require(whole.taken <= maxHeader);
  require(stage != Stage::more || whole.taken < maxHeader);
  if (stage != Stage::done) return;
  require(whole.taken == headerSize(warren::asText(stream)));
  requireRewritable(whole.parser.header());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const Bytes stream = std::as_bytes(std::span(data + 1, size - 1));
  const size_t split = data[0] % (stream.size() + 1);
  run(stream, split, 4096);
  run(stream, split, 64);
  return 0;
}
