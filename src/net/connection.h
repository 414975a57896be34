// Connection: what a socket's slot holds, and its state machine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/ring_buffer.h"
#include "base/slab.h"
#include "net/cold.h"
#include "net/dialer.h"
#include "net/handler_cell.h"
#include "net/proxy_protocol.h"
#include "net/secure.h"
#include "net/token.h"
#include "os/fd.h"
#include "os/poller.h"
#include "os/sys.h"
#include "warren/socket.h"

namespace warren::net {

class ReactorImpl;

enum class State : uint8_t {
  connecting,   // a dialer works for it
  greeting,     // accepted; its PROXY header is still to come, and nobody has heard of it
  handshaking,  // TLS is being agreed on, and nobody has heard of it
  open,
  lingering,  // the user is done with it; what was accepted is still being delivered
  closed,  // `close` or `connectError` was called, or there was nobody to call; the sweep frees it
};

// One socket, of whatever origin. It lives in a slab slot with the user's Data behind it.
//   owner      the reactor's slab; retired when it closes, freed by the sweep at the end of the turn
//   invariant  every call of a handler may close it: after one, ask `state()` before going on
class Connection : public base::Slot {
 public:
  Connection(base::SlotId id, HandlerCell& cell);

  State state() const { return state_; }
  HandlerCell& cell() const { return *cell_; }
  SocketHandle handle() const;
  void* data() const;
  // Bytes wait to be sent, here or with the user, who was told to wait for `drain`.
  bool full() const { return queued() > 0 || has(kDrainOwed); }
  bool hasData() const { return has(kHasData); }
  // The user's bytes go through.
  bool established() const { return state_ == State::open && !has(kHandshaking); }
  // In a handshake, or before its PROXY header, it is the peer's turn; it was when this was asked last, and
  // nothing has come since.
  bool keepsWaiting();
  uint32_t nextInCell() const { return links_.nextInCell; }
  // It is its descriptor, or the one it was given to connect with.
  bool holds(int fd) const;

  // --- what the reactor calls --------------------------------------------------------------------

  // Builds the Data; what its copying throws passes through.
  void constructData();
  // Gives up a connection that nobody has heard of.
  void abandon();

  // The descriptor is connected and watched: `open`, or the TLS handshake before it.
  void connected(os::Fd fd, const Address& peer, bool adopted);
  // Accepted from a proxy: reads its header before `open`. Takes the descriptor in any case.
  Result<void> greet(os::Fd fd, const Address& peer, size_t maxHeader);
  // Starts connecting; what comes of it is told in a later turn.
  Result<void> dial(detail::ConnectRequest request);
  void onAttemptReady(Part attempt);
  void onAddresses(Result<std::vector<Address>> addresses);
  void onStagger();

  void onReady(const os::Event& event);
  // The same for an event that is input and nothing else; false when it is not.
  bool onInput(const os::Event& event);
  // On the ready list: work was left that the kernel will not tell of again.
  void onWorkLeft();
  // On the flush list: the handler in which something was sent has returned.
  void flushQueued();
  void onTimeout();
  void onDeadline();
  // The sweep: everything is given back but the slot. False while it lingers.
  bool release();
  // The reactor goes away: the same, at once and without any handler.
  void discard(bool forked);

  // --- verbs, as SocketHandle says ---------------------------------------------------------------

  std::ptrdiff_t write(Bytes bytes);
  std::ptrdiff_t write(std::span<const Bytes> segments);
  bool send(Bytes bytes);
  std::ptrdiff_t end(Bytes bytes);
  void close();
  void terminate();
  void shutdown(Side side);
  // The end of a drain: whatever it is doing, it is reset.
  void cut();
  void flush();
  bool cork();  // false when it cannot be corked, or is already
  void uncork();
  void pause();
  void resume();
  Result<void> setTimeout(Duration after, bool idle);
  void setReferenced(bool referenced);
  Result<void> reload(HandlerTable table);
  Result<void> upgrade(const SharedTls& policy, Bytes leftover);

  ReadyState readyState() const;
  uint64_t bytesRead() const { return bytesRead_; }
  uint64_t bytesWritten() const { return bytesWritten_; }
  uint64_t unsentBytes() const { return has(kSwept) ? unsent_ : unsent(); }
  Secure* secure() const;  // null on plain sockets
  const ProxyHeader* proxyHeader() const {
    return cold() != nullptr ? cold()->proxied.get() : nullptr;
  }
  Address remoteAddress() const;
  Address localAddress();
  bool setNoDelay(bool on);
  bool setKeepAlive(bool on, Duration initialDelay);
  bool deadPeer(Duration after);
  // One line for people.
  std::string describe() const;

 private:
  friend class ReactorImpl;  // keeps its lists in links_.nextReady, links_.nextInCell and the flags

  enum Flag : uint32_t {
    kReadable = os::kReadable,  // latch: the kernel may have input
    kEnded = os::kEnded,        // latch: an end or an error is queued behind the input
    kWritable = os::kWritable,  // latch: the kernel may have room
    kBroken = os::kBroken,      // latch: an error is queued, or both directions are over
    kLatches = kReadable | kEnded | kWritable | kBroken,
    kMuted = 1 << 4,     // input is read and dropped
    kReadDone = 1 << 5,  // the peer's FIN was read, or reading failed
    kFinOwed = 1 << 6,   // our FIN follows the outbox
    kFinSent = 1 << 7,
    kWriteDead = 1 << 8,  // the kernel takes no more; Cold::why says why
    kDrainOwed = 1 << 9,  // bytes were refused since the last drain
    kCorked = 1 << 10,
    kBounded = 1 << 11,      // linger limits apply
    kIdleTimeout = 1 << 12,  // traffic pushes the timeout back
    kReset = 1 << 13,        // the descriptor goes with a reset
    kAdopted = 1 << 14,      // others may hold the descriptor too
    kReferenced = 1 << 15,   // keeps the reactor running
    kHasData = 1 << 16,      // Data is alive
    kOnReadyList = 1 << 17,
    kOnFlushList = 1 << 18,
    kRetired = 1 << 19,
    kCounted = 1 << 20,      // among HandlerCell::openSockets
    kSwept = 1 << 21,        // nothing but facts is left in the slot
    kLocalAsked = 1 << 22,   // the local address is one of those facts
    kHandshaking = 1 << 23,  // TLS is not agreed on yet, in whichever state
    kPaused = 1 << 24,       // the user holds input back
    kUnix = 1 << 25,         // the descriptor is; short reads and writes say nothing of its queue
    kUnpausable = 1 << 26,   // its user may wait for a drain that will not come
    kSecure = 1 << 27,       // secure_, not cold_
    kInterrupted = 1 << 28,  // TLS: by a pause, in the middle of what had come
    kNotified = 1 << 29,     // TLS: our close_notify is on its way, or gone
    kTlsFailed = 1 << 30,    // nothing goes through the session any more, in either direction
    kWaitedFor = 1u << 31,   // by keepsWaiting
    // With one of these there is more to an event than input.
    kUnquiet = kEnded | kBroken | kMuted | kReadDone | kFinOwed | kDrainOwed | kBounded |
               kIdleTimeout | kHandshaking | kPaused | kUnix | kSecure,
    // With one of these there is more to a write than a system call.
    kUnstraight = kCorked | kFinOwed | kFinSent | kWriteDead | kBounded | kIdleTimeout | kSecure,
  };

  bool has(uint32_t flags) const { return (flags_ & flags) != 0; }
  void set(uint32_t flags) { flags_ |= flags; }
  void clear(uint32_t flags) { flags_ &= ~flags; }

  ReactorImpl& reactor() const { return cell_->reactor; }
  template <class... Args>
  void call(const Callback<SocketHandle, Args...>& handler, std::type_identity_t<Args>... args);

  // Nobody has heard of it, but its user has a handle: it was dialed.
  bool connecting() const;
  std::string target() const;

  // connecting: connection.cc
  void open();
  void broken();
  void brokenAtEnd();
  void brokenBy(int error);
  void dialed(Dialed progress);
  void failed(const Error& error, bool lingers = false);

  // greeting: connection_greeting.cc
  void setRemote(const Address& peer);
  void readGreeting();
  void greeted();
  void refuseGreeting(std::string_view problem);

  // TLS: connection_tls.cc
  void startTls(const SharedTls& policy);
  Result<void> makeSession(const SharedTls& policy);
  bool limitHandshake(Duration limit);
  void dropSecure();
  void decrypt(Bytes input);
  void decryptKept();
  void keep(Bytes input);
  void beginHandshake();
  void endHandshake();
  void handshaken();
  void handshakeFailed(const Error& error, bool alerted = false);
  void tellError(const Error& error);
  void loseQueue();
  void sessionFailed(const Error& error, bool alerted);
  void streamCut();
  bool writable() const;
  size_t sendAll(const base::RingBuffer& bytes);
  bool passOn(size_t plain);
  bool keepSealed(const base::RingBuffer& records);
  bool flushWire();
  void flushSealed();
  bool notify();
  size_t seal(std::span<const Bytes> segments);
  size_t sealSome(Bytes bytes);

  // reading: connection_read.cc
  bool mayRead() const;
  void tookAllOrNone(os::sys::Answer count);
  void readWithinBudget(size_t used);
  size_t took(os::sys::Answer count);
  os::sys::Answer receive();
  void countRead(size_t size);
  void deliver(Bytes bytes);
  bool saidGoodbye() const;
  void readStopped(os::sys::Answer answer);
  void received(Bytes bytes);
  bool withinLinger(size_t size);
  void onPeerEnd();
  void answerEnd();

  // writing: connection_write.cc
  bool acceptsWrites() const;
  bool mayTransmit() const;
  size_t queued() const;
  size_t unsent() const;
  Error takeWhy() { return cold() != nullptr ? std::exchange(cold()->why, {}) : Error(); }
  size_t transmit(std::span<const Bytes> extra, size_t extraSize);
  size_t sent(os::sys::Answer answer, size_t size);
  std::ptrdiff_t writeSlowly(Bytes bytes);
  std::ptrdiff_t wroteLess(os::sys::Answer answer, size_t size);
  std::ptrdiff_t taken(size_t count, size_t total);
  std::ptrdiff_t refused();
  bool queue(Bytes bytes);
  bool crowded(size_t more) const;
  void tooMuch(const char* what);
  bool enqueue(Bytes bytes);
  void flushOutput();
  void flushAndDrain();
  bool drainDue() const;
  void finishOutput(uint32_t flags);
  void sendFin();
  void writeFailed(int error);

  // closing: connection_close.cc
  bool mustLinger() const;
  void pushIdleTimeout();
  void pushLinger();
  void armLinger();
  void leave(const Error& error);
  void mute();
  void linger();
  void closeIfDone();
  void finish(const Error& error);
  void tellClosed(State next, const Error& error);
  void leaveCell();
  void destroyData();
  void closeDescriptor();
  void keepFacts(uint64_t unsent, const Address& local);
  Cold* cold() const;
  Cold* needCold();
  void dropCold();
  void dropExtras();
  void dropColdIfIdle();

  // What only a socket that is not swept needs makes room for what is then still asked.
  struct Links {
    uint32_t nextInCell = kNone;
    uint32_t prevInCell = kNone;
    uint32_t nextReady = kNone;  // of the ready list
    uint32_t timeout = kNone;    // TimerSlot of the user's timeout
  };
  struct LocalEnd {
    Family family;
    uint16_t port;
  };

  int fd_ = -1;
  uint32_t flags_ = kReferenced;
  union {
    HandlerCell* cell_;
    LocalEnd local_;  // once swept: Family::none unless it was asked for before
  };
  union {
    Cold* cold_ = nullptr;
    Secure* secure_;  // with kSecure
  };
  union {
    Links links_{};
    std::array<uint8_t, 16> localIp_;  // once swept
  };
  union {
    uint32_t deadline_ = kNone;  // TimerSlot of the connect or linger deadline
    uint32_t unsent_;            // once swept: what was left of the outbox
  };
  State state_ = State::connecting;
  Family family_ = Family::none;
  uint16_t remotePort_ = 0;
  uint64_t bytesRead_ = 0;
  uint64_t bytesWritten_ = 0;
  std::array<uint8_t, 16> remoteIp_{};
};

inline SocketHandle Connection::handle() const {
  return SocketHandle(detail::SocketId{const_cast<Connection*>(this), index, generation});
}

// The connection a handle names, closed or not; nullptr when its slot has another owner.
inline Connection* find(const detail::SocketId& id) {
  const bool same = id.slot != nullptr && id.slot->generation == id.generation;
  return same ? static_cast<Connection*>(id.slot) : nullptr;
}

inline Secure* Connection::secure() const {
#if WARREN_TLS
  return has(kSecure) ? secure_ : nullptr;
#else
  return nullptr;
#endif
}

// Null while there is no need for one.
inline Cold* Connection::cold() const {
#if WARREN_TLS
  return has(kSecure) ? secure_->cold : cold_;
#else
  return cold_;
#endif
}

inline size_t Connection::queued() const {
  const Cold* cold = this->cold();
  return cold != nullptr ? cold->outbox.size() + cold->wire.size() : 0;
}

inline size_t Connection::unsent() const {
  const Cold* cold = this->cold();
  return cold != nullptr ? cold->outbox.size() + cold->sealed : 0;
}

static_assert(std::is_trivially_destructible_v<Connection>, "closed slots keep their last facts");
static_assert(sizeof(Connection) <= 88, "an idle plain socket costs at most 96 bytes, all counted");

}  // namespace warren::net
