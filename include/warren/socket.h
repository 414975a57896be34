// Socket<Data>: the handle of one connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "warren/address.h"
#include "warren/bytes.h"
#include "warren/duration.h"
#include "warren/handlers.h"
#include "warren/proxy_protocol.h"
#include "warren/result.h"

namespace warren {

class ArrayBufferSink;
class Cork;
class TlsFacts;
struct TlsOptions;
template <class Data>
class Listener;

namespace base {
struct Slot;
}
namespace net {
class Connection;
class ReactorImpl;
}  // namespace net

namespace detail {
// What handles of listeners and timers are: which slot, which use of it, of which reactor. The default
// names nothing.
struct HandleId {
  net::ReactorImpl* reactor = nullptr;
  uint32_t index = 0;
  uint32_t generation = 0;

  bool operator==(const HandleId&) const = default;
};

// What handles of sockets are, which are asked with every message: where the slot lies, which never
// moves and stays as long as its reactor, and which use of it.
struct SocketId {
  base::Slot* slot = nullptr;
  uint32_t index = 0;
  uint32_t generation = 0;

  bool operator==(const SocketId&) const = default;
};
}  // namespace detail

// One direction of a connection, or both.
enum class Side : uint8_t { read, write, both };

enum class ReadyState : uint8_t {
  connecting,
  open,
  ended,      // we send no more, the peer may
  peerEnded,  // the peer sends no more, we may
  closed,     // gone, or never there
};

// What upgradeTls does with plaintext that came behind the command to begin TLS. An attacker may have
// put it there.
enum class Leftover : uint8_t {
  fail,     // refuses the upgrade
  feed,     // it is the beginning of TLS: the peer did not wait for the answer
  discard,  // drops it
};

// The handle of one socket whatever its `Data`: a small value that owns nothing. Copy it, keep it in a
// map, capture it. When the socket is gone every call is answered as documented and touches nothing.
//   thread    the reactor's, all of it; from elsewhere use Reactor::post
//   lifetime  handles may outlive their socket, not their reactor
class SocketHandle {
 public:
  SocketHandle() = default;

  // --- sending -----------------------------------------------------------------------------------

  // Gives `bytes` to the kernel and returns how many were taken: by the kernel or, in TLS and under a
  // Cork, by the socket (`unsentBytes` tells); the rest stays the caller's. A count below the size means
  // full: `drain` fires once when there is room again, also when the peer has ended meanwhile: our own
  // end then waits for it. What `send` has queued goes out first.
  //   shape   any span, empty allowed (0); read before the return, never kept
  //   errors  -1 once the socket can send no more: closed, ended, or the peer is gone (`close` says
  //           why). 0 while connecting, and during a TLS handshake: `drain` follows
  //   source  send(2); Bun TCP documentation, "Buffering"
  [[nodiscard]] std::ptrdiff_t write(Bytes bytes) const;
  [[nodiscard]] std::ptrdiff_t write(std::string_view text) const { return write(asBytes(text)); }

  // Gives the sink's bytes to the kernel in one gathered call and takes what it took out of the sink;
  // the rest stays there for the next time. Answers as write(Bytes).
  std::ptrdiff_t write(ArrayBufferSink& sink) const;

  // Takes all of `bytes`, in order, and sends them when it can: everything sent in one handler leaves
  // in one system call when the handler returns.
  //   returns  true: go on; false: more than `highWaterMark` is queued (or the socket can send no
  //            more), slow down until `drain`
  //   errors   more than `maxQueued` closes the socket at once with Usage::tooMuch and a reset: a
  //            stream is whole or visibly broken. Then `close` comes inside the call: who sends to many
  //            must not walk a list that `close` changes
  bool send(Bytes bytes) const;
  bool send(std::string_view text) const { return send(asBytes(text)); }

  // Until the guard ends, `write` gathers too: small writes leave in one system call. One that would
  // make it more than 64 KiB goes out at once, behind what was gathered. Guards nest: the outermost
  // counts. A handler's own sends are gathered without it.
  [[nodiscard]] Cork cork() const;

  // Sends what is queued now rather than at the end of the handler, but not while a Cork lives. Where
  // that was all the socket was waiting for, `close` comes inside the call; inside the end of a Cork,
  // too.
  void flush() const;

  // --- finishing ---------------------------------------------------------------------------------

  // Sends `bytes` and then FIN; all that was accepted is delivered, and no `drain` comes any more.
  // Input keeps coming to `data` until the peer's FIN, then `close`. Without allowHalfOpen a silent or
  // endless peer is cut by the linger limits, which `close` then tells.
  //   returns  the bytes taken (all), or -1 when it is too late to send
  //   errors   as send
  std::ptrdiff_t end(Bytes bytes = {}) const;
  std::ptrdiff_t end(std::string_view text) const { return end(asBytes(text)); }

  // Done with this socket: `close` fires inside the call and no handler after it. What was accepted
  // is still delivered behind the scenes, under the linger limits. Connecting sockets get
  // `connectError` with ECANCELED instead, and during a TLS handshake nothing was sent yet: then what was
  // accepted is dropped. On a closed socket it does nothing, as all verbs below.
  void close() const;

  // Resets the connection, dropping what is unsent; `close` fires inside the call, without an error.
  // Unix sockets know no reset: there it is an abrupt close.
  void terminate() const;

  // Finishes one direction; the socket stays. write: FIN after what was accepted, and no `drain` any
  // more. read: input is read and dropped from here on, `data` and `end` fire no more.
  void shutdown(Side side = Side::write) const;

  // --- receiving ---------------------------------------------------------------------------------

  // Holds back `data`, and the `end` and `close` that follow the peer's FIN or reset, until `resume`.
  // The peer is slowed down by its full buffers. Neither nests. A failed write lifts a pause that waits
  // for `drain`, and so does one that was answered with -1 or false: no `drain` will come, `close` will.
  // For the same reason a pause after either holds nothing back.
  void pause() const;
  void resume() const;

  // --- TLS -----------------------------------------------------------------------------------------

  // What is known of this socket's TLS: see tls_facts.h. Empty on plain sockets.
  TlsFacts tls() const;

  // Goes on in TLS, as STARTTLS and the like want it: this is the same socket afterwards, and
  // `handshake` tells when it is agreed on, or `close` why not. Accepted sockets are the server,
  // dialed ones the client, who verifies the host it has dialed or `serverName`. `leftover` is what
  // the `data` handler still had behind the command; it never reaches a handler again. Writes wait
  // for the handshake.
  //   errors  Usage::conflict when it speaks TLS already, bytes are queued, or something is left over
  //           and `policy` is fail; Usage::closed, also while connecting and once either side has
  //           ended; those of the option `tls`
  Result<void> upgradeTls(const TlsOptions& options, Bytes leftover = {},
                          Leftover policy = Leftover::fail) const;

  // --- time --------------------------------------------------------------------------------------

  // Calls `timeout` once, `after` from here, whatever the traffic. Called again it starts anew; zero
  // turns it off. Never early, one millisecond steps. The socket closes with ETIMEDOUT unless the
  // handler arms it again. While connecting it ends the attempt: `connectError` with ETIMEDOUT.
  //   errors  Usage::outOfRange below zero or above 100 years, Usage::closed
  Result<void> timeout(Duration after) const;

  // The same timer, pushed back whenever bytes arrive or leave.
  Result<void> idleTimeout(Duration after) const;

  // --- the reactor -------------------------------------------------------------------------------

  // Whether this socket keeps Reactor::run going; it does from the start. Flags, not counts.
  void ref() const;
  void unref() const;

  // --- facts -------------------------------------------------------------------------------------

  ReadyState readyState() const;

  // Bytes accepted by write, send and end; bytes given to `data` or dropped after it; accepted bytes
  // that the kernel has not taken. All still answer in `close`, and after it until the slot is used
  // again, then 0.
  uint64_t bytesWritten() const;
  uint64_t bytesRead() const;
  uint64_t unsentBytes() const;

  // Both ends of the connection. They stay readable after the close like the byte counts, the local
  // one if it was asked for before: it costs a system call.
  Address remoteAddress() const;
  Address localAddress() const;

  // What the PROXY protocol header of an accepted socket said, valid while the socket is there;
  // nullptr when its listener takes none. remoteAddress() is its source, unless it was local.
  const ProxyHeader* proxyHeader() const;

  // TCP_NODELAY, on from the start. False where it cannot be: closed, connecting, not TCP.
  bool setNoDelay(bool on = true) const;

  // SO_KEEPALIVE, off from the start. `initialDelay` before the first probe, in whole seconds
  // (rounded up), at most 32767; zero leaves the system's. False as above, or for another delay. It and
  // deadPeer set the same option: the later call counts.
  bool setKeepAlive(bool on = true, Duration initialDelay = {}) const;

  // Notices a peer that is gone without a word: `after` so long without an answer, to data or to
  // probes sent while idle, the socket closes with ETIMEDOUT. On Linux so does one whose peer is there
  // but takes nothing for so long. Whole seconds for the probes; zero turns it off. False as setNoDelay,
  // above 32767 s, or where the system cannot.
  //   source  TCP_USER_TIMEOUT and SO_KEEPALIVE of tcp(7); TCP_RXT_CONNDROPTIME on macOS
  bool deadPeer(Duration after) const;

  // Equal handles name the same socket.
  bool operator==(const SocketHandle&) const = default;
  explicit operator bool() const { return readyState() != ReadyState::closed; }

  // A number that no other socket of this reactor ever has, for maps and logs.
  uint64_t number() const { return uint64_t{id_.generation} << 32 | id_.index; }

 protected:
  explicit SocketHandle(detail::SocketId id) : id_(id) {}

  // Where the socket's Data lies; nullptr once it is gone.
  void* findData() const;
  // The same; throws BadResult, or aborts, once it is gone.
  void* requireData() const;
  Result<void> reloadTable(HandlerTable table) const;
  detail::HandleId listenerId() const;

  friend class Cork;
  friend class net::Connection;
  friend class net::ReactorImpl;

  detail::SocketId id_;
};

static_assert(sizeof(SocketHandle) <= 16, "a handle travels in two registers");

// A socket whose slot carries a `Data`.
template <class Data = Empty>
class Socket : public SocketHandle {
 public:
  Socket() = default;
  // The untyped handle of a socket whose Data is known to be this one.
  explicit Socket(SocketHandle handle) : SocketHandle(handle) {}

  // The user data, built inside the slot when the socket was made and alive until `close` or
  // `connectError` has returned.
  //   errors  on a socket that is gone it throws BadResult, or aborts in builds without exceptions;
  //           where that can be, ask findData()
  Data& data() const { return *static_cast<Data*>(requireData()); }

  // The same, or nullptr once the socket is gone.
  Data* findData() const { return static_cast<Data*>(SocketHandle::findData()); }

  // Puts another handler table in the place of this socket's from the next event on; handlers that it
  // lacks are gone. On an accepted socket this is its listener's reload.
  //   errors  Usage::missing for a table with neither `data` nor `drain`, Usage::closed
  Result<void> reload(SocketHandlers<Data> handlers) const {
    return reloadTable(HandlerTable(std::move(handlers)));
  }

  // The listener that accepted it, stopped or not; a handle that names nothing for dialed and for
  // closed sockets. Needs <warren/listen.h>.
  Listener<Data> listener() const;
};

// Holds back what is written to one socket until it dies; see SocketHandle::cork.
class [[nodiscard]] Cork {
 public:
  Cork(Cork&& other) noexcept : socket_(std::exchange(other.socket_, {})) {}
  Cork& operator=(Cork&&) = delete;
  ~Cork();

 private:
  friend class SocketHandle;
  explicit Cork(SocketHandle socket) : socket_(socket) {}

  SocketHandle socket_;  // names nothing in an inner guard
};

}  // namespace warren
