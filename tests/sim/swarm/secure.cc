#include "secure.h"

#include "support/certificates.h"

namespace warren::swarm {

#if WARREN_TLS

TlsSetting serverTls() {
  const test::Identity& leaf = test::testLeaf();
  return TlsOptions{.key = leaf.key, .cert = leaf.cert};
}

TlsSetting clientTls() { return TlsOptions{.rejectUnauthorized = false}; }

#else

TlsSetting serverTls() { return {}; }
TlsSetting clientTls() { return {}; }

#endif

}  // namespace warren::swarm
