// TLS for programs that speak it: one certificate for all, nobody who verifies it, and the same run for
// the same seed.
#pragma once

#include <cstdint>

#include "support/certificates.h"
#include "warren/tls.h"

namespace warren::swarm {

// Whether this build has TLS at all.
bool tlsBuilt();

// BoringSSL draws from the row of this seed from here on. All that a run draws besides has a fixed
// length, so the bytes of two runs are cut alike.
void seedTls(uint64_t seed);

// How a socket speaks TLS.
struct TlsManner {
  bool old = false;       // TLS 1.2
  bool tolerant = false;  // an end without close_notify is one
};

inline constexpr uint64_t kHandshake = 2000;  // milliseconds

TlsOptions serverTls(const TlsManner& manner = {});
TlsOptions clientTls(const TlsManner& manner = {});

#if WARREN_TLS
// What the server shows. Ed25519: its signatures have one length, and need no chance.
const test::Identity& serverIdentity();
#endif

}  // namespace warren::swarm
