// Connecting: options.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "warren/listen.h"

namespace warren {

// Where to connect is said in exactly one way: `hostname` with `port`, or `unix`, or `fd`.
template <class Data = Empty>
struct ConnectOptions {
  // A numeric address, or a name that is looked up without blocking the reactor. "localhost" is tried
  // on both loopbacks.
  std::string hostname{};
  // 0..65535; the kernel refuses 0.
  std::optional<int> port{};
  // A path, or, on Linux, an abstract name behind a NUL byte. It is looked up in the next turn: a relative
  // one in the working directory of then.
  std::string unix{};
  // A connected stream descriptor; it becomes the socket's, unless `connect` answers an error:
  // Usage::conflict if a socket or listener of this reactor has it already.
  std::optional<int> fd{};

  SocketHandlers<Data> socket{};
  // The socket's own Data is a copy of this, or a fresh one when Data cannot be copied; see
  // ListenOptions.
  Data data{};

  bool allowHalfOpen = false;
  // From the call to `open`, looking up the name included and, in TLS without a `handshake` handler,
  // the handshake; zero: no limit of ours.
  Duration connectTimeout = std::chrono::seconds(30);
  size_t highWaterMark = size_t{64} << 10;
  size_t maxQueued = size_t{64} << 20;
  Linger linger{};
  // Speaks TLS: `true` verifies the host against the system's roots.
  TlsSetting tls{};
  // Begins with a PROXY protocol header of this version, 1 or 2. Addresses that are not given are
  // the connection's own: of unix sockets that, and `local`, makes it a header that does not say for
  // whom. One that is given must be of the family of the other: EAFNOSUPPORT, with Step::proxy. `tlvs`
  // need version 2.
  std::optional<ProxyHeader> proxyProtocol{};
};

namespace detail {

struct ConnectRequest {
  std::string hostname;
  std::optional<int> port;
  std::string unix;
  std::optional<int> fd;
  SocketRequest socket;
  Duration connectTimeout;
  TlsSetting tls;
  std::optional<ProxyHeader> proxyProtocol;
};

template <class Data>
ConnectRequest connectRequest(ConnectOptions<Data>&& options) {
  ConnectRequest request;
  request.socket = socketRequest(options);
  request.hostname = std::move(options.hostname);
  request.port = options.port;
  request.unix = std::move(options.unix);
  request.fd = options.fd;
  request.connectTimeout = options.connectTimeout;
  request.tls = std::move(options.tls);
  request.proxyProtocol = std::move(options.proxyProtocol);
  return request;
}

}  // namespace detail
}  // namespace warren
