// Secure: what a connection keeps for TLS.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/ring_buffer.h"
#include "warren/config.h"
#include "warren/duration.h"
#include "warren/result.h"
#include "warren/tls.h"

#if WARREN_TLS
#include "tls/credentials.h"
#include "tls/session.h"
#endif

namespace warren::net {

#if WARREN_TLS

// The TLS policy of sockets: a listener has a server's, a dialed socket a client's. Never changed, only
// replaced: sessions keep the one they began with.
struct TlsPolicy {
  size_t maxHandshakes = 0;  // of one listener at a time; 0: no limit
  std::shared_ptr<const tls::ServerPolicy> server;
  std::shared_ptr<const tls::Credentials> client;
  std::string host;  // client: the name or address that must be the peer's
  Duration handshakeTimeout;
  std::string session;  // client: to resume
  bool tolerateTruncation = false;
};

// Owner: the connection's Cold, from the start of the handshake to the end of the socket.
struct Secure {
  std::shared_ptr<const TlsPolicy> policy;
  std::unique_ptr<tls::Session> session;
  base::RingBuffer wire;     // records that the kernel has not taken
  base::RingBuffer inbox;    // ciphertext that came before a pause and was not opened
  size_t sealed = 0;         // bytes of plaintext in `wire`, or lost when the session failed
  bool interrupted = false;  // by a pause, in the middle of what had come
  bool notified = false;     // our close_notify is in `wire`, or gone
  bool failed = false;       // nothing goes through the session any more, in either direction
};

#else

struct TlsPolicy {
  size_t maxHandshakes = 0;
};

struct Secure {
  base::RingBuffer wire;
  size_t sealed = 0;
  bool failed = false;
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
