// TLS for programs that speak it: one certificate for all, and nobody who verifies it.
#pragma once

#include "warren/tls.h"

namespace warren::swarm {

// Nothing in builds without TLS.
TlsSetting serverTls();
TlsSetting clientTls();

}  // namespace warren::swarm
