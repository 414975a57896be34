#include "net/proxy_protocol.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

#include "base/check.h"
#include "os/address.h"

namespace warren::net {
namespace {

using Stage = ProxyParser::Stage;
using Problem = std::string_view;  // what is wrong; empty when nothing is

struct Verdict {
  Stage stage;
  Problem problem;
};

constexpr Verdict kMore{Stage::more, {}};
constexpr Verdict kDone{Stage::done, {}};
constexpr Verdict malformed(Problem problem) { return {Stage::malformed, problem}; }

constexpr Problem kNoHeader = "no PROXY header";
constexpr Problem kTooLong = "longer than maxHeader";

uint8_t byteAt(std::string_view text, size_t at) { return static_cast<uint8_t>(text[at]); }

uint16_t numberAt(std::string_view text, size_t at) {
  return static_cast<uint16_t>(byteAt(text, at) << 8 | byteAt(text, at + 1));
}

void appendNumber(std::string& text, uint16_t number) {
  text += static_cast<char>(number >> 8);
  text += static_cast<char>(number & 0xff);
}

// Decimal, without sign and leading zeros, up to 65535.
std::optional<uint16_t> readDecimal(std::string_view text) {
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  uint16_t number;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return number;
}

bool isPair(const Address& source, const Address& destination) {
  const Family family = source.family();
  return family == destination.family() && (family == Family::ipv4 || family == Family::ipv6);
}

// --- version 1: a line of text -----------------------------------------------------------------

constexpr std::string_view kLead = "PROXY ";
constexpr std::string_view kLineEnd = "\r\n";
constexpr size_t kLineSize = 107;  // of the longest, with its end

// An address of `family`. No scope: that is an interface of the other host, and to look up the name
// of one is a system call a header should not cause.
std::optional<Address> readAddress(std::string_view host, Family family, uint16_t port) {
  if (host.find('%') != std::string_view::npos) return std::nullopt;
  const std::optional<Address> address = os::parseAddress(host, port);
  return address && address->family() == family ? address : std::nullopt;
}

// The part of `rest` before the next space; takes both away.
std::string_view takeField(std::string_view& rest) {
  const std::string_view field = rest.substr(0, rest.find(' '));
  rest.remove_prefix(std::min(rest.size(), field.size() + 1));
  return field;
}

// `fields` is what stands behind the protocol: two addresses and two ports.
Problem readEnds(std::string_view fields, Family family, ProxyHeader& header) {
  if (std::count(fields.begin(), fields.end(), ' ') != 3) {
    return "v1: not two addresses and two ports with single spaces";
  }
  const std::string_view source = takeField(fields);
  const std::string_view destination = takeField(fields);
  const std::optional<uint16_t> sourcePort = readDecimal(takeField(fields));
  const std::optional<uint16_t> destinationPort = readDecimal(fields);
  if (!sourcePort || !destinationPort) return "v1: malformed port";
  const std::optional<Address> from = readAddress(source, family, *sourcePort);
  const std::optional<Address> to = readAddress(destination, family, *destinationPort);
  if (!from || !to) return "v1: malformed address";
  header.source = *from;
  header.destination = *to;
  return {};
}

// `line` stands between the lead and the line's end.
Verdict readV1(std::string_view line, ProxyHeader& header) {
  header.version = 1;
  const std::string_view protocol = takeField(line);
  if (protocol == "UNKNOWN") {
    header.local = true;
    return kDone;
  }
  if (protocol != "TCP4" && protocol != "TCP6") return malformed("v1: not TCP4, TCP6 or UNKNOWN");
  const Family family = protocol == "TCP4" ? Family::ipv4 : Family::ipv6;
  const Problem problem = readEnds(line, family, header);
  return problem.empty() ? kDone : malformed(problem);
}

Verdict judgeV1(std::string_view text, ProxyHeader& header) {
  if (text.size() <= kLead.size()) return kLead.starts_with(text) ? kMore : malformed(kNoHeader);
  if (text.ends_with(kLineEnd)) {
    return readV1(text.substr(kLead.size(), text.size() - kLead.size() - kLineEnd.size()), header);
  }
  // Also behind UNKNOWN: a line that its sender ended with LF would else swallow the next one.
  if (text.back() == '\n' || text[text.size() - 2] == '\r') return malformed("v1: CR or LF alone");
  return text.size() < kLineSize ? kMore : malformed("v1: no line end within 107 bytes");
}

// --- version 2: signature, four bytes, addresses, TLVs -----------------------------------------

constexpr std::string_view kSignature{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr size_t kCommandAt = 12;
constexpr size_t kFamilyAt = 13;
constexpr size_t kLengthAt = 14;
constexpr size_t kFixedSize = 16;
constexpr size_t kLengthLimit = 0xffff;

// The lower half of the byte at kCommandAt; the upper is the version.
constexpr uint8_t kLocal = 0;
constexpr uint8_t kProxy = 1;
// The two halves of the byte at kFamilyAt.
enum WireFamily : uint8_t { kUnspecified, kInet, kInet6, kUnix };
enum Transport : uint8_t { kUntold, kStream, kDatagram };

constexpr size_t kTlvLead = 3;  // type and length
constexpr uint8_t kPadding = 4;

bool isLocal(std::string_view text) { return (byteAt(text, kCommandAt) & 0xf) == kLocal; }
uint8_t familyOf(std::string_view text) { return byteAt(text, kFamilyAt) >> 4; }
uint8_t transportOf(std::string_view text) { return byteAt(text, kFamilyAt) & 0xf; }
size_t sizeOf(std::string_view text) { return kFixedSize + numberAt(text, kLengthAt); }

// Whether the addresses are those of the connection, whatever the header has in their place.
bool isOpen(std::string_view text) {
  return isLocal(text) || familyOf(text) == kUnspecified || transportOf(text) == kUntold;
}

size_t addressesSize(std::string_view text) {
  constexpr std::array<size_t, 4> kSizes{0, 12, 36, 216};
  return familyOf(text) < kSizes.size() ? kSizes[familyOf(text)] : 0;
}

Problem commandProblem(std::string_view text) {
  const uint8_t byte = byteAt(text, kCommandAt);
  if (byte >> 4 != 2) return "v2: unknown version";
  return (byte & 0xf) <= kProxy ? Problem{} : "v2: unknown command";
}

Problem familyProblem(std::string_view text) {
  if (isLocal(text)) return {};  // "discard the protocol block including the family"
  if (familyOf(text) > kUnix) return "v2: unknown address family";
  if (transportOf(text) > kDatagram) return "v2: unknown transport";
  return transportOf(text) == kDatagram ? "v2: datagrams, on a stream" : Problem{};
}

Problem lengthProblem(std::string_view text, size_t maxHeader) {
  if (sizeOf(text) > maxHeader) return kTooLong;
  const bool tooShort = !isOpen(text) && sizeOf(text) < kFixedSize + addressesSize(text);
  return tooShort ? "v2: too short for its addresses" : Problem{};
}

// What the last of at most kFixedSize bytes has told.
Problem fixedProblem(std::string_view text, size_t maxHeader) {
  switch (text.size() - 1) {
    case kCommandAt:
      return commandProblem(text);
    case kFamilyAt:
      return familyProblem(text);
    case kFixedSize - 1:
      return lengthProblem(text, maxHeader);
    default:
      return {};
  }
}

template <size_t size>
std::array<uint8_t, size> ipAt(std::string_view text, size_t at) {
  std::array<uint8_t, size> ip;
  std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(at), size, ip.begin());
  return ip;
}

void readAddresses(std::string_view text, ProxyHeader& header) {
  if (familyOf(text) == kUnix) {
    header.source = header.destination = Address::unix();
  } else if (familyOf(text) == kInet) {
    header.source = Address::ipv4(ipAt<4>(text, 16), numberAt(text, 24));
    header.destination = Address::ipv4(ipAt<4>(text, 20), numberAt(text, 26));
  } else {
    WARREN_CHECK(familyOf(text) == kInet6);
    header.source = Address::ipv6(ipAt<16>(text, 16), numberAt(text, 48));
    header.destination = Address::ipv6(ipAt<16>(text, 32), numberAt(text, 50));
  }
}

// Where the TLV at `at` ends; beyond the text when it overruns it.
size_t tlvEnd(std::string_view text, size_t at) {
  const bool hasLead = text.size() - at >= kTlvLead;
  return at + kTlvLead + (hasLead ? numberAt(text, at + 1) : 0);
}

bool tlvsFit(std::string_view text, size_t at) {
  while (at < text.size()) at = tlvEnd(text, at);
  return at == text.size();
}

// The next two: of TLVs that fit.
std::vector<ProxyTlv> readTlvs(std::string_view text, size_t at) {
  std::vector<ProxyTlv> tlvs;
  for (size_t end; at < text.size(); at = end) {
    end = tlvEnd(text, at);
    if (byteAt(text, at) == kPadding) continue;
    const std::string_view value = text.substr(at + kTlvLead, end - at - kTlvLead);
    tlvs.push_back({byteAt(text, at), std::string(value)});
  }
  return tlvs;
}

// CRC32c (Castagnoli), bit by bit: a header is short and comes once per connection.
uint32_t crc32c(std::string_view text) {
  uint32_t crc = 0xffffffff;
  for (const char byte : text) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

// What the field at `at` has to hold: the checksum of the header with zeros in the field itself.
std::string checksumFor(std::string header, size_t at) {
  header.replace(at, kProxyChecksumSize, kProxyChecksumSize, '\0');
  const uint32_t crc = crc32c(header);
  std::string field;
  appendNumber(field, static_cast<uint16_t>(crc >> 16));
  appendNumber(field, static_cast<uint16_t>(crc & 0xffff));
  return field;
}

Problem checksumProblem(std::string_view text, size_t at) {
  size_t field = 0;
  for (size_t end; at < text.size(); at = end) {
    end = tlvEnd(text, at);
    if (byteAt(text, at) != kProxyChecksum) continue;
    if (end - at != kTlvLead + kProxyChecksumSize) return "v2: malformed checksum";
    if (field != 0) return "v2: two checksums";
    field = at + kTlvLead;
  }
  const bool right =
      field == 0 || checksumFor(std::string(text), field) == text.substr(field, kProxyChecksumSize);
  return right ? Problem{} : "v2: wrong checksum";
}

Verdict readV2(std::string_view text, ProxyHeader& header) {
  header.version = 2;
  header.local = isOpen(text);
  if (!header.local) readAddresses(text, header);
  // An open header should bring no addresses, and may.
  const size_t tlvs = kFixedSize + addressesSize(text);
  const size_t at = tlvs <= text.size() ? tlvs : kFixedSize;
  // It "must be accepted" whatever it brings; so what is no run of TLVs is skipped.
  if (!tlvsFit(text, at)) return header.local ? kDone : malformed("v2: a TLV overruns the header");
  header.tlvs = readTlvs(text, at);
  const Problem problem = checksumProblem(text, at);
  return problem.empty() ? kDone : malformed(problem);
}

Verdict judgeV2(std::string_view text, size_t maxHeader, ProxyHeader& header) {
  if (text.size() <= kSignature.size()) {
    return kSignature.starts_with(text) ? kMore : malformed(kNoHeader);
  }
  if (text.size() <= kFixedSize) {
    const Problem problem = fixedProblem(text, maxHeader);
    if (!problem.empty()) return malformed(problem);
  }
  const bool whole = text.size() >= kFixedSize && text.size() == sizeOf(text);
  return whole ? readV2(text, header) : kMore;
}

// --- both --------------------------------------------------------------------------------------

// Of a header's beginning whose last byte is new: everything before it was judged.
Verdict judge(std::string_view text, size_t maxHeader, ProxyHeader& header) {
  const bool binary = text.front() == kSignature.front();
  const Verdict verdict = binary ? judgeV2(text, maxHeader, header) : judgeV1(text, header);
  const bool full = verdict.stage == Stage::more && text.size() >= maxHeader;
  return full ? malformed(kTooLong) : verdict;
}

// --- writing -----------------------------------------------------------------------------------

void appendAddresses(std::string& header, const Address& source, const Address& destination) {
  const std::ptrdiff_t size = source.family() == Family::ipv4 ? 4 : 16;
  header.append(source.ip().begin(), source.ip().begin() + size);
  header.append(destination.ip().begin(), destination.ip().begin() + size);
  appendNumber(header, source.port());
  appendNumber(header, destination.port());
}

void appendTlv(std::string& header, const ProxyTlv& tlv) {
  const std::string value =
      tlv.type == kProxyChecksum ? std::string(kProxyChecksumSize, '\0') : tlv.value;
  WARREN_CHECK(value.size() <= kLengthLimit);
  header += static_cast<char>(tlv.type);
  appendNumber(header, static_cast<uint16_t>(value.size()));
  header += value;
}

// Writes into a whole header how long it is.
void setLength(std::string& header) {
  const size_t length = header.size() - kFixedSize;
  WARREN_CHECK(length <= kLengthLimit);
  header[kLengthAt] = static_cast<char>(length >> 8);
  header[kLengthAt + 1] = static_cast<char>(length & 0xff);
}

// --- networks ----------------------------------------------------------------------------------

constexpr int kMappedBits = 96;

// The IPv4 address inside ::ffff:0:0/96; every other address as it is.
Address unmapped(const Address& address) {
  constexpr std::array<uint8_t, 12> kPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const std::array<uint8_t, 16>& ip = address.ip();
  const bool mapped =
      address.family() == Family::ipv6 && std::equal(kPrefix.begin(), kPrefix.end(), ip.begin());
  return mapped ? Address::ipv4({ip[12], ip[13], ip[14], ip[15]}, address.port()) : address;
}

// Whether they agree in the bits from `begin` up to `end`.
bool sameBits(const Address& left, const Address& right, int begin, int end) {
  for (int bit = begin; bit < end; ++bit) {
    const size_t byte = static_cast<size_t>(bit / 8);
    if ((left.ip()[byte] ^ right.ip()[byte]) & 0x80 >> bit % 8) return false;
  }
  return true;
}

}  // namespace

size_t ProxyParser::feed(Bytes bytes) {
  size_t taken = 0;
  while (stage_ == Stage::more && taken < bytes.size()) {
    gathered_ += static_cast<char>(bytes[taken++]);
    const Verdict verdict = judge(gathered_, maxHeader_, header_);
    stage_ = verdict.stage;
    problem_ = verdict.problem;
  }
  if (stage_ == Stage::malformed) header_ = {};
  // The connection lives on, perhaps for days; an assignment would keep the capacity.
  if (stage_ != Stage::more) std::string().swap(gathered_);
  WARREN_CHECK(gathered_.size() <= maxHeader_);
  WARREN_CHECK(problem_.empty() == (stage_ != Stage::malformed));
  return taken;
}

std::string proxyHeaderV1(const Address& source, const Address& destination) {
  std::string line(kLead);
  if (isPair(source, destination)) {
    const auto host = [](const Address& address) {  // without the scope
      return address.family() == Family::ipv6 ? Address::ipv6(address.ip(), 0).host()
                                              : address.host();
    };
    line += source.family() == Family::ipv4 ? "TCP4 " : "TCP6 ";
    line += host(source) + ' ' + host(destination) + ' ';
    line += std::to_string(source.port()) + ' ' + std::to_string(destination.port());
  } else {
    line += "UNKNOWN";
  }
  line += kLineEnd;
  WARREN_CHECK(line.size() <= kLineSize);
  return line;
}

std::string proxyHeaderV2(const Address& source, const Address& destination,
                          const std::vector<ProxyTlv>& tlvs) {
  const bool open = !isPair(source, destination);
  std::string header(kSignature);
  header += open ? '\x20' : '\x21';
  header += open ? '\x00' : source.family() == Family::ipv4 ? '\x11' : '\x21';
  appendNumber(header, 0);
  if (!open) appendAddresses(header, source, destination);
  size_t field = 0;
  for (const ProxyTlv& tlv : tlvs) {
    if (tlv.type == kProxyChecksum) field = header.size() + kTlvLead;
    appendTlv(header, tlv);
  }
  setLength(header);
  if (field != 0) header.replace(field, kProxyChecksumSize, checksumFor(header, field));
  return header;
}

bool Network::contains(const Address& candidate) const {
  const Address inner = unmapped(candidate);
  if (inner.family() != address.family() || !isPair(inner, address)) return false;
  if (address.scope() != 0 && address.scope() != inner.scope()) return false;
  return sameBits(inner, address, 0, bits);
}

std::optional<Network> parseNetwork(std::string_view text) {
  const size_t slash = text.find('/');
  const std::optional<Address> address = os::parseAddress(text.substr(0, slash), 0);
  if (!address) return std::nullopt;
  const int most = address->family() == Family::ipv4 ? 32 : 128;
  int bits = most;
  if (slash != std::string_view::npos) {
    const std::optional<uint16_t> given = readDecimal(text.substr(slash + 1));
    if (!given || *given > most) return std::nullopt;
    bits = *given;
  }
  // "10.0.0.1/8" is a mistake for one of two networks, and a wrong guess trusts strangers.
  const Address zeros = most == 32 ? Address::ipv4({}, 0) : Address::ipv6({}, 0);
  if (!sameBits(*address, zeros, bits, most)) return std::nullopt;
  const Address inner = unmapped(*address);
  // The prefix of a mapped network has no zero at its end, so such a network has at least 96 bits.
  return Network{inner, inner == *address ? bits : bits - kMappedBits};
}

}  // namespace warren::net
