// BoringSSL's errors as ours.
#pragma once

#include "tls/boring.h"

namespace warren::tls {

// An error of the queue as an Error of the handshake, or of reading when that is over.
Error errorOf(uint32_t error, Step step);

// An alert of the peer (SSL_AD_...).
Error alertError(int alert, Step step);

// The same for a reason (SSL_R_...) that we found ourselves.
Error reasonError(int reason, Step step);

}  // namespace warren::tls
