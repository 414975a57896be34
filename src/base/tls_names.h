// The codes of Origin::tls and their names, for floors that do not know BoringSSL.
#pragma once

#include <string>
#include <string_view>

namespace warren::base {

// A code is one of these plus the number it stands for.
inline constexpr int kTlsVerify = 0x100;      // X509_V_ERR_...: why a certificate is not trusted
inline constexpr int kTlsAlert = 0x10000;     // an alert that the peer sent
inline constexpr int kTlsTruncated = 0x8000;  // the stream ended without close_notify
inline constexpr int kTlsReason = 0x20000;    // SSL_R_...: why this end gave up
inline constexpr int kTlsForeign = 0x30000;   // another library's reason, which has no name here

// "CERT_HAS_EXPIRED", "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", "ERR_SSL_WRONG_VERSION_NUMBER"; "TLS_<code>"
// when it has no name.
std::string tlsName(int code);

}  // namespace warren::base
