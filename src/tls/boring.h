// BoringSSL as this floor sees it: the right library, and its error queue kept quiet.
#pragma once

#include <openssl/crypto.h>  // exists in OpenSSL as well, so that the message below is reached

#if !defined(OPENSSL_IS_BORINGSSL)
#error "warren's TLS needs BoringSSL; these <openssl/...> headers are OpenSSL's. Set BORINGSSL."
#endif

#include <openssl/base.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/ssl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "warren/bytes.h"
#include "warren/result.h"

static_assert(BORINGSSL_API_VERSION >= 17, "warren's TLS needs BoringSSL API version 17 or later");

namespace warren::tls {

// Around every use of BoringSSL. Its errors wait in a queue of the thread: one that is left over would
// be taken for the next socket's.
class ErrorScope {
 public:
  ErrorScope() { forget(); }
  ~ErrorScope() { WARREN_DCHECK(ERR_peek_error() == 0); }
  ErrorScope(const ErrorScope&) = delete;
  ErrorScope& operator=(const ErrorScope&) = delete;

  // The first error, which is the cause of the others; the queue is empty then.
  static uint32_t take() {
    const uint32_t first = ERR_get_error();
    ERR_clear_error();
    return first;
  }
  // The same, but what the TLS layer says before what the layers below it say: a record that does not
  // decrypt is a bad record first and a bad tag second.
  static uint32_t takeTls() {
    const uint32_t first = ERR_peek_error();
    uint32_t error = ERR_get_error();
    while (error != 0 && ERR_GET_LIB(error) != ERR_LIB_SSL) error = ERR_get_error();
    ERR_clear_error();
    return error != 0 ? error : first;
  }
  // Clearing an empty queue costs as much as opening a small record's header.
  static void forget() {
    if (ERR_peek_error() != 0) ERR_clear_error();
  }
};

inline const uint8_t* octets(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

inline std::string_view textOf(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// The reason of an error in the words of BoringSSL: "BAD_BASE64_DECODE".
inline std::string reasonOf(uint32_t error) {
  const char* const reason = ERR_reason_error_string(error);
  return reason != nullptr ? reason : "reason " + std::to_string(ERR_GET_REASON(error));
}

inline Error refusal(Usage code, std::string text) {
  return {code, Step::options, std::move(text)};
}

// What is left to say when BoringSSL has no memory for something that cannot fail otherwise.
inline Error outOfMemory(Step step) { return {Usage::tooMuch, step, "no memory for TLS"}; }

}  // namespace warren::tls
