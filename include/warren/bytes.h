// Views of bytes, the currency of every read and write.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace warren {

// A borrowed run of bytes. It owns nothing: what it points at belongs to the caller, or, in a
// `data` handler, to the reactor until the handler returns.
using Bytes = std::span<const std::byte>;

// The bytes of a text, as they are in memory. warren neither checks nor changes encodings.
inline Bytes asBytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

// The same bytes seen as a text.
inline std::string_view asText(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace warren
