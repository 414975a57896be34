// Both ends of a TLS connection on loopback.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "support/catch.h"
#include "support/certificates.h"
#include "support/net.h"
#include "support/recorder.h"
#include "warren/warren.h"

namespace warren::test {

inline TlsOptions serverTls() {
  const Identity& leaf = testLeaf();
  return {.key = leaf.key, .cert = leaf.cert};
}

inline TlsOptions clientTls() { return {.ca = testAuthority().cert}; }

// A TLS listener and a socket dialed to it in one reactor, both recorded, without `handshake` handlers.
// `adjust` may change either.
struct Both {
  using Adjust = std::function<void(ListenOptions<>&, ConnectOptions<>&)>;

  explicit Both(const Adjust& adjust = {}) {
    ListenOptions<> listen{.hostname = "127.0.0.1",
                           .port = 0,
                           .socket = withoutHandshake(events.handlers("server")),
                           .tls = serverTls()};
    ConnectOptions<> connect{.hostname = "127.0.0.1",
                             .socket = withoutHandshake(events.handlers("client")),
                             .tls = clientTls()};
    if (adjust) adjust(listen, connect);
    listen.socket.open = [this, open = listen.socket.open](Socket<> socket) {
      server = socket;
      if (open) open(socket);
    };
    listener = reactor.listen(std::move(listen)).value();
    connect.port = listener.port();
    client = reactor.connect(std::move(connect)).value();
  }

  static SocketHandlers<> withoutHandshake(SocketHandlers<> handlers) {
    handlers.handshake = {};
    return handlers;
  }
  void until(const std::string& line) {
    INFO("waiting for: " << line);
    runUntil(reactor, [&] { return events.has(line); });
  }
  void bothOpen() {
    until("server open");
    until("client open");
  }

  Recorder events;
  Reactor reactor;
  Listener<> listener;
  Socket<> client;
  Socket<> server;
};

// Puts a `handshake` handler into a table that notes it.
inline void noteHandshake(Recorder& events, SocketHandlers<>& handlers, const std::string& who) {
  handlers.handshake = [&events, who](Socket<>, bool ok, const Error& error) {
    events.note(who, ok ? "handshake ok" : "handshake failed", error);
  };
}

}  // namespace warren::test
