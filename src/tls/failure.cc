#include "tls/failure.h"

#include <algorithm>
#include <utility>

#include "base/tls_names.h"

namespace warren::tls {
namespace {

// "NO_SHARED_CIPHER" as people write it.
std::string inWords(std::string reason) {
  for (char& letter : reason) {
    if (letter == '_') letter = ' ';
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return reason;
}

std::string wordsFor(int reason) {
  switch (reason) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
      return "the peer speaks plain HTTP";
    case SSL_R_WRONG_VERSION_NUMBER:
      return "the peer does not speak TLS";
    case SSL_R_UNEXPECTED_RECORD:
      return "the peer does not speak TLS, or not in order";
    case SSL_R_NO_SHARED_CIPHER:
      return "no cipher is known to both ends";
    case SSL_R_UNSUPPORTED_PROTOCOL:
      return "no version of TLS is known to both ends";
    case SSL_R_NO_APPLICATION_PROTOCOL:
      return "no application protocol (alpn) is known to both ends";
    case SSL_R_CONNECTION_REJECTED:
      return "the client has asked for no server name, and one of them insists on certificates";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return "the peer has shown no certificate";
    default:
      return {};
  }
}

}  // namespace

Error alertError(int alert, Step step) {
  std::string name = inWords(SSL_alert_desc_string_long(alert));
  return {Origin::tls, base::kTlsAlert + alert, step, "the peer sent the alert \"" + name + "\""};
}

Error reasonError(int reason, Step step) {
  std::string words = wordsFor(reason);
  if (words.empty()) {
    // Bits of a packed error: the library in the upper ones, the reason in the lower ones.
    words = inWords(reasonOf(static_cast<uint32_t>(ERR_PACK(ERR_LIB_SSL, reason))));
  }
  return {Origin::tls, base::kTlsReason + reason, step, std::move(words)};
}

Error errorOf(uint32_t error, Step step) {
  const int reason = ERR_GET_REASON(error);
  if (ERR_GET_LIB(error) == ERR_LIB_SSL) {
    if (reason >= SSL_AD_REASON_OFFSET) return alertError(reason - SSL_AD_REASON_OFFSET, step);
    return reasonError(reason, step);
  }
  // Another library: a key, a signature or a certificate that makes no sense.
  return {Origin::tls, base::kTlsForeign + reason, step, inWords(reasonOf(error))};
}

}  // namespace warren::tls
