// Secure: what a connection keeps for TLS.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "warren/config.h"
#include "warren/duration.h"
#include "warren/result.h"
#include "warren/tls.h"

#if WARREN_TLS
#include "tls/credentials.h"
#include "tls/session.h"
#endif

namespace warren::net {

struct Cold;
struct Secure;

#if WARREN_TLS

// The TLS policy of sockets: a listener has a server's, a dialed socket a client's. Never changed, only
// replaced: sessions keep the one they began with.
struct TlsPolicy {
  size_t maxHandshakes = 0;  // of one listener at a time; 0: no limit
  Duration handshakeTimeout;
  std::shared_ptr<const tls::ServerPolicy> server;
  std::shared_ptr<const tls::Credentials> client;
  std::string host;     // client: the name or address that must be the peer's
  std::string session;  // client: to resume
};

// What a TLS socket has in the place of its Cold, from the start of the handshake to its end.
// Owner: the connection.
struct Secure {
  tls::Session session;
  Cold* cold = nullptr;
};

#else

struct TlsPolicy {
  size_t maxHandshakes = 0;
  Duration handshakeTimeout;
};

#endif

// Null: plain.
using SharedTls = std::shared_ptr<const TlsPolicy>;

// What the option `tls` of a listener, and of a socket dialed to `host`, comes to.
Result<SharedTls> listenerTls(const TlsSetting& setting);
Result<SharedTls> dialedTls(const TlsSetting& setting, const std::string& host);

#if WARREN_TLS
// A listener's policy with other options for those who ask for `name`, and without them.
Result<SharedTls> withServerName(const TlsPolicy& policy, std::string_view name,
                                 const TlsOptions& options);
SharedTls withoutServerName(const TlsPolicy& policy, std::string_view name);
#endif

}  // namespace warren::net
