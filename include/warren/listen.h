// Listening: options, and the handle of a listener.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "warren/address.h"
#include "warren/duration.h"
#include "warren/handlers.h"
#include "warren/proxy_protocol.h"
#include "warren/result.h"
#include "warren/socket.h"
#include "warren/tls.h"

namespace warren {

// How long a finished socket waits for its peer; see SocketHandle::end and close. Without allowHalfOpen
// also one whose peer has ended, while bytes are queued or a `drain` is owed.
struct Linger {
  // The peer is cut when it takes nothing for so long. What it sends buys time only after our FIN, and
  // until `close`. Zero cuts at once: at the next millisecond. What the kernel holds then it still sends,
  // unless the peer takes nothing of that for as long, at least 10 s (TCP_USER_TIMEOUT of tcp(7)).
  Duration timeout = std::chrono::seconds(10);
  // The peer is cut when it sends more than this after our FIN, or after `close`, when nobody listens.
  uint64_t bytes = uint64_t{16} << 20;
};

// Where to listen is said in exactly one way: `hostname` with `port`, or `unix`, or `fd`.
template <class Data = Empty>
struct ListenOptions {
  // A numeric address, a name, or "localhost" (both loopbacks). Of a name up to eight addresses are
  // bound; those this machine does not have are left out, if it has others. It is looked up inside the
  // call, by getaddrinfo(3).
  std::string hostname{};
  // 0..65535; 0 picks one.
  std::optional<int> port{};
  // A path, made absolute and removed by `stop`; or, on Linux, an abstract name behind a NUL byte.
  std::string unix{};
  // A descriptor that is already listening; it becomes the listener's, unless `listen` answers an error:
  // then it stays open and the caller's, though it may be non-blocking, close-on-exec and TCP_NODELAY by
  // then.
  std::optional<int> fd{};

  SocketHandlers<Data> socket{};
  // The Data of every accepted socket is a copy of this, or a fresh one when Data cannot be copied; it
  // need not be movable either. Some types only look as if they could be copied, such as those that
  // hold a vector of unique_ptr: they must delete their copy constructor.
  Data data{};

  // The kernel's queue of connections not yet accepted; the system may lower it.
  int backlog = 512;
  // Several listeners, of any process of this user, may share the address and split its connections.
  bool reusePort = false;
  // "::" takes no IPv4 connections.
  bool ipv6Only = false;
  // Refuses together with `reusePort`, which is off anyway; kept for Bun's sake.
  bool exclusive = false;
  // The peer's FIN leaves our side open until `end`.
  bool allowHalfOpen = false;
  // Beyond it, connections wait in the kernel's queue; finished ones count until linger is over. 0: no
  // limit.
  size_t maxConnections = 0;
  // Queued bytes at which `send` says slow down, and beyond which it closes the socket. The first is
  // not above the second; what `write` gathers under a Cork, 64 KiB at most, is not held to them.
  size_t highWaterMark = size_t{64} << 10;
  size_t maxQueued = size_t{64} << 20;
  Linger linger{};
  // Every connection begins with a PROXY protocol header; see there.
  std::optional<ProxyProtocol> proxyProtocol{};
  // Speaks TLS: `.tls = {{.key = warren::file("key.pem"), .cert = warren::file("cert.pem")}}`.
  TlsSetting tls{};
  // Accepting failed: out of descriptors (reported once; accepting goes on by itself when there are
  // some again), or something worse.
  Callback<const Error&> acceptError{};
};

namespace detail {

// What the slab must know of a Data.
struct DataType {
  size_t size;
  size_t align;
  void (*construct)(void* at, const void* initial);
  void (*destroy)(void* at);
};

template <class Data>
constexpr DataType dataType() {
  static_assert(std::is_copy_constructible_v<Data> || std::default_initializable<Data>,
                "a socket's Data is copied from the option `data`, or default-constructed");
  return {
      std::is_empty<Data>::value ? 0 : sizeof(Data),
      alignof(Data),
      [](void* at, const void* initial) {
        if constexpr (std::is_copy_constructible_v<Data>) {
          ::new (at) Data(*static_cast<const Data*>(initial));
        } else {
          ::new (at) Data();
        }
      },
      [](void* at) { static_cast<Data*>(at)->~Data(); },
  };
}

template <class Data>
inline constexpr DataType kDataType = dataType<Data>();

// The options all sockets of one listener, or one dialed socket, share.
struct SocketPolicy {
  bool allowHalfOpen = false;
  size_t highWaterMark = 0;
  size_t maxQueued = 0;
  Linger linger;
};

// The same options without the type of Data.
struct SocketRequest {
  HandlerTable handlers;
  const DataType* dataType = nullptr;
  std::shared_ptr<void> data;
  SocketPolicy policy;
};

struct ListenRequest {
  std::string hostname;
  std::optional<int> port;
  std::string unix;
  std::optional<int> fd;
  SocketRequest socket;
  int backlog = 0;
  bool reusePort = false;
  bool ipv6Only = false;
  bool exclusive = false;
  size_t maxConnections = 0;
  std::optional<ProxyProtocol> proxyProtocol;
  TlsSetting tls;
  Callback<const Error&> acceptError;
};

// The option `data`, kept beside the handlers: a fresh one when it cannot even be moved there.
template <class Data>
std::shared_ptr<void> keepData(Data& data) {
  if constexpr (std::is_move_constructible_v<Data>) {
    return std::make_shared<Data>(std::move(data));
  } else if constexpr (std::is_copy_constructible_v<Data>) {
    return std::make_shared<Data>(std::as_const(data));
  } else {
    return std::make_shared<Data>();
  }
}

template <class Options>
SocketRequest socketRequest(Options& options) {
  return {HandlerTable(std::move(options.socket)),
          &kDataType<decltype(options.data)>,
          keepData(options.data),
          {options.allowHalfOpen, options.highWaterMark, options.maxQueued, options.linger}};
}

template <class Data>
ListenRequest listenRequest(ListenOptions<Data>&& options) {
  ListenRequest request;
  request.socket = socketRequest(options);
  request.hostname = std::move(options.hostname);
  request.port = options.port;
  request.unix = std::move(options.unix);
  request.fd = options.fd;
  request.backlog = options.backlog;
  request.reusePort = options.reusePort;
  request.ipv6Only = options.ipv6Only;
  request.exclusive = options.exclusive;
  request.maxConnections = options.maxConnections;
  request.proxyProtocol = std::move(options.proxyProtocol);
  request.tls = std::move(options.tls);
  request.acceptError = std::move(options.acceptError);
  return request;
}

}  // namespace detail

// What a listener has seen since its start.
struct ListenerStats {
  uint64_t accepted = 0;
  uint64_t acceptFailures = 0;
  size_t open = 0;  // now: as connectionCount
  uint64_t bytesRead = 0;
  uint64_t bytesWritten = 0;  // taken by the kernel
};

// How a drain ended: how many sockets finished, those dialed meanwhile too, and how many were cut at
// the deadline.
struct Drained {
  size_t finished = 0;
  size_t cut = 0;
};
using DrainDone = Callback<const Drained&>;

// The handle of a listener, as SocketHandle is that of a socket. Its facts stay readable after `stop`
// (until some dozens of further listeners were stopped).
class ListenerHandle {
 public:
  ListenerHandle() = default;

  // The bound port, the host as it was given, the absolute path or abstract name; 0 or empty where it
  // does not apply.
  int port() const;
  std::string hostname() const;
  std::string unixPath() const;
  // What is bound, one entry a descriptor.
  std::vector<Address> addresses() const;
  // Its descriptors, still its own: for handing them over (see handover.h). Empty once stopped.
  std::vector<int> descriptors() const;

  // Stops listening at once: new connects are refused, queued ones reset, a unix path is removed if it
  // is still ours. Accepted sockets go on; with `closeActive` each is closed as by `close`, inside
  // this call.
  void stop(bool closeActive = false) const;
  bool listening() const;

  // Whether stopping removes the unix path: true from the start for who has made it, false for an
  // adopted listener. When a listener is handed over, the path goes with it: `old.ownsPath(false)`,
  // `successor.ownsPath(true)`.
  void ownsPath(bool owns) const;

  // Stops listening and lets the sockets it has finish: one through which nothing has gone for a
  // moment (100 ms, less before a near deadline) is ended as by `end`, what is left at the deadline
  // is reset. `done` is called, from the reactor, when the last descriptor is closed.
  //   errors  Usage::outOfRange for the deadline, Usage::closed when it is stopped and has no
  //           sockets left; `done` is not called then
  Result<void> drain(Duration deadline, DrainDone done = {}) const;

  // Puts other TLS options, names included, in the place of the current ones: for handshakes from now
  // on. Live sockets go on as they are. Bad ones are refused, and the old ones stay.
  //   errors  as listen's for the option `tls`; Usage::closed; Usage::invalid for a plain listener
  Result<void> reloadTls(const TlsOptions& options) const;
  // Clients that ask for `name` get other options than the rest; "*.example.com" covers one label, and
  // exact names come first. A name that is there is replaced. handshakeTimeout, maxHandshakes and
  // ticketKeys stay the listener's own; the rest is the name's, tolerateTruncation too. When a name
  // insists on certificates and the listener's own options do not, clients that ask for no name are
  // refused: leaving it out is no way around. What a client does under another name is for the handlers
  // to check, by TlsFacts::serverName.
  //   errors  as reloadTls; Usage::missing for an empty name, Usage::invalid for one that no client can
  //           ask for: with another '*', a NUL byte or more than 255 bytes
  Result<void> addServerName(std::string_view name, const TlsOptions& options) const;
  // False when there is no such name.
  bool removeServerName(std::string_view name) const;

  // Sockets accepted and not yet closed.
  size_t connectionCount() const;
  ListenerStats stats() const;

  // As SocketHandle's.
  void ref() const;
  void unref() const;

  bool operator==(const ListenerHandle&) const = default;
  explicit operator bool() const { return listening(); }

 protected:
  explicit ListenerHandle(detail::HandleId id) : id_(id) {}
  void* requireData() const;
  Result<void> reloadTable(HandlerTable table) const;

  friend class Reactor;

  detail::HandleId id_;
};

template <class Data = Empty>
class Listener : public ListenerHandle {
 public:
  Listener() = default;
  explicit Listener(detail::HandleId id) : ListenerHandle(id) {}

  // The option `data`: what sockets accepted from now on start with. As Socket::data once it is gone.
  Data& data() const { return *static_cast<Data*>(requireData()); }

  // Puts another handler table in the place of the current one, for the sockets it has and those to
  // come, from the next event on; allowed inside any handler. Cost does not depend on their number.
  //   errors  Usage::missing for a table with neither `data` nor `drain`; the old one stays.
  //           Usage::closed when it is stopped and has no sockets left
  Result<void> reload(SocketHandlers<Data> handlers) const {
    return reloadTable(HandlerTable(std::move(handlers)));
  }
};

template <class Data>
Listener<Data> Socket<Data>::listener() const {
  return Listener<Data>(listenerId());
}

}  // namespace warren
