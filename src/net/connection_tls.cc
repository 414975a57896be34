// Connection: TLS between the kernel and the handlers.
#include "warren/config.h"
#if WARREN_TLS

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "base/check.h"
#include "base/poison.h"
#include "base/tls_names.h"
#include "net/hot_path.h"

namespace warren::net {

namespace {

// Four full records: enough for one system call to be cheap, and little to keep when it is refused.
constexpr size_t kSealAtOnce = size_t{64} << 10;

}  // namespace

// --- the handshake -----------------------------------------------------------------------------------

// With a `handshake` handler the socket is open from here on, and writes wait; without one nobody
// hears of it before it is agreed on.
void Connection::startTls(const SharedTls& policy) {
  state_ = State::handshaking;
  beginHandshake();
  if (Result<void> made = makeSession(policy); !made) {
    return handshakeFailed(made.error());
  }
  if (cell_->table->handshake) open();
  if (!has(kHandshaking)) return;
  decrypt({});  // a client speaks first
  if (mayRead()) reactor().ready(*this);
}

Result<void> Connection::makeSession(const SharedTls& policy) {
  tls::Transport& transport = reactor().transport();
  Result<tls::Session> session =
      policy->server != nullptr ? tls::Session::server(policy->server, transport)
                                : tls::Session::client(policy->client, policy->host, transport);
  if (!session) return session.error();
  if (!policy->session.empty() && !session->setSession(policy->session)) {
    return Error(Usage::invalid, Step::handshake,
                 "tls.session is no session, or one of another host or trust");
  }
  std::unique_ptr<Secure> secure(new (std::nothrow) Secure{std::move(*session), cold()});
  if (secure == nullptr) return Error(Origin::kernel, ENOMEM, Step::handshake, target());
  if (!limitHandshake(policy->handshakeTimeout)) {
    return Error(Origin::kernel, ENOMEM, Step::handshake, target());
  }
  secure_ = secure.release();
  set(kSecure);
  return {};
}

// What is left of connectTimeout may be less. False without memory for a timer.
bool Connection::limitHandshake(Duration limit) {
  Timers& timers = reactor().timers();
  if (limit.zero()) return true;
  if (deadline_ == kNone) {
    TimerSlot* timer = timers.start(TimerKind::socketDeadline, index, limit.count());
    if (timer != nullptr) deadline_ = timer->index;
    return timer != nullptr;
  }
  TimerSlot& timer = timers.at(deadline_);
  if (timer.deadline > timers.clock() + limit.count()) timers.restart(timer, limit.count());
  return true;
}

void Connection::dropSecure() {
  if (!has(kSecure)) return;
  delete std::exchange(secure_, nullptr);
  clear(kSecure);
  cold_ = nullptr;
}

// STARTTLS: the same socket goes on, and `handshake` tells when. Sessions of such sockets fail with
// `close`, since they were open before.
Result<void> Connection::upgrade(const SharedTls& policy, Bytes leftover) {
  if (state_ != State::open || has(kFinOwed | kFinSent | kWriteDead | kReadDone)) {
    return Error(Usage::closed, Step::handshake, "the socket is closed or ended");
  }
  if (has(kSecure)) return Error(Usage::conflict, Step::handshake, "it speaks TLS already");
  flushOutput();
  if (queued() > 0) return Error(Usage::conflict, Step::handshake, "bytes are queued");
  if (Result<void> made = makeSession(policy); !made) return made;
  beginHandshake();
  keep(leftover);
  reactor().ready(*this);
  return {};
}

void Connection::beginHandshake() {
  if (has(kHandshaking)) return;  // it was greeted
  set(kHandshaking);
  ++cell_->handshakes;
}

// Its listener may have waited for that.
void Connection::endHandshake() {
  clear(kHandshaking);
  --cell_->handshakes;
  reactor().timers().cancel(deadline_);
  dropColdIfIdle();
  if (Listener* listener = reactor().findListener(cell_->listener)) listener->onHandshakeEnd();
}

void Connection::handshaken() {
  endHandshake();
  if (state_ == State::closed || state_ == State::lingering) return;  // by `acceptError`
  ++reactor().stats().handshakes;
  if (state_ == State::handshaking) return open();
  call(cell_->table->handshake, true, secure()->session.authorizationError());
  if (state_ == State::closed) return;
  if (has(kBounded)) armLinger();  // it was ended meanwhile
  reactor().flushLater(*this);
  if (has(kDrainOwed)) reactor().ready(*this);
}

// Never silent: `handshake` hears of it, or `connectError`, or, for an accepted socket that nobody has
// heard of, `error` alone. `alerted`: an alert tells the peer.
void Connection::handshakeFailed(const Error& error, bool alerted) {
  loseQueue();  // a handler can send nothing any more, nor can `acceptError`
  endHandshake();
  if (state_ == State::closed || state_ == State::lingering) return;
  ++reactor().stats().handshakeFailures;
  if (!alerted && unsent() > 0) set(kReset);
  const bool lingers = alerted && mustLinger();
  if (connecting()) return failed(error, lingers);
  if (state_ == State::open) {
    const Error rest = cell_->table->handshake ? Error() : error;  // it is told once
    call(cell_->table->handshake, false, error);
    if (state_ != State::open) return;
    return lingers ? leave(rest) : finish(rest);
  }
  if (lingers) {
    state_ = State::lingering;
    leaveCell();
  } else {
    finish({});
  }
  tellError(error);
  if (lingers) linger();
}

// What `error` throws is not told to it again.
void Connection::tellError(const Error& error) {
  if (const auto& handler = cell_->table->error) {
    reactor().dispatch(nullptr, [&] { handler(handle(), error); });
  }
}

// Nothing goes through the session any more.
void Connection::loseQueue() {
  set(kTlsFailed);
  if (Cold* cold = this->cold()) {
    cold->sealed += cold->outbox.size();
    cold->outbox.release();
  }
}

// Closing a descriptor with input unread would destroy an alert that is on its way: so the socket
// lingers, as one does that has said something else. What is queued behind it is lost.
void Connection::sessionFailed(const Error& error, bool alerted) {
  loseQueue();
  if (has(kHandshaking)) return handshakeFailed(error, alerted);
  if (state_ == State::open && alerted) return leave(error);
  finish(error);
}

// --- reading -----------------------------------------------------------------------------------------

// Opens the records that have come. A handler may pause or close in the middle of it.
void Connection::decrypt(Bytes input) {
  if (has(kTlsFailed)) return static_cast<void>(withinLinger(input.size()));
  const std::span<std::byte> plain = reactor().plainBuffer();
  while (state_ != State::closed) {
    if (has(kPaused | kReadDone) && !has(kHandshaking)) return keep(input);
    base::unpoison(plain);
    tls::Session& session = secure()->session;
    const tls::Session::Received got = session.receive(input, plain);
    passOn(0);
    if (state_ == State::closed) return;  // no memory for what TLS has to send
    switch (got.state) {
      case tls::Session::State::more:
        return;
      case tls::Session::State::plaintext:
        received(plain.first(got.plain));
        break;
      case tls::Session::State::ready:
        handshaken();
        break;
      case tls::Session::State::ended:
        return onPeerEnd();
      case tls::Session::State::failed:
        return sessionFailed(session.error(), session.alerted());
    }
  }
}

// What was not opened waits for `resume`, which finds the socket readable.
void Connection::keep(Bytes input) {
  if (has(kReadDone)) return;  // behind close_notify is nothing of ours
  set(kReadable | kInterrupted);
  if (input.empty()) return;
  Cold* cold = needCold();
  if (cold != nullptr && cold->inbox.append(input)) return;
  finish({Origin::kernel, ENOMEM, Step::read, "inbox"});
}

void Connection::decryptKept() {
  if (!mayRead() || has(kTlsFailed) || !has(kInterrupted | kHandshaking)) return;
  clear(kInterrupted);
  base::RingBuffer kept;
  if (Cold* cold = this->cold()) kept = std::move(cold->inbox);
  dropColdIfIdle();
  // The session may have more to tell, even an end, without any input.
  if (kept.empty()) return decrypt({});
  for (const Bytes& part : kept.readable()) {
    if (state_ == State::closed) return;
    decrypt(part);
  }
}

// The peer's FIN without its close_notify: whoever is between may have cut the stream. What a reset
// leaves behind for reading, when a write was told of it, is no FIN.
void Connection::streamCut() {
  if (has(kHandshaking)) {
    return handshakeFailed({Origin::kernel, ECONNRESET, Step::handshake, target()});
  }
  // Nobody hears what a lingering socket reads, and what it had accepted is still to be delivered.
  const bool unheard = state_ == State::lingering;
  const bool tolerated = secure()->session.toleratesTruncation();
  if (unheard || tolerated || has(kTlsFailed) || !saidGoodbye()) return onPeerEnd();
  set(kReadDone);
  finish({Origin::tls, base::kTlsTruncated, Step::read, "the peer ended without close_notify"});
}

// --- writing -----------------------------------------------------------------------------------------

// Sends what the session has put out, `plain` bytes of the user's in it; the connection keeps what the
// kernel refuses. True when nothing is kept.
bool Connection::passOn(size_t plain) {
  base::RingBuffer& output = reactor().transport().output();
  const bool kept = cold() != nullptr && !cold()->wire.empty();
  if (output.empty()) return !kept;
  if (!kept && writable()) output.consume(sendAll(output));
  if (output.empty()) return true;
  const bool done = keepSealed(output);
  output.clear();
  if (done) {
    cold()->sealed += plain;
  } else {
    set(kReset);
    finish({Origin::kernel, ENOMEM, Step::write, "outbox"});
  }
  return false;
}

bool Connection::keepSealed(const base::RingBuffer& records) {
  Cold* const cold = needCold();
  if (cold == nullptr) return false;
  const std::array<Bytes, 2> parts = records.readable();
  return cold->wire.append(parts[0]) && cold->wire.append(parts[1]);
}

bool Connection::writable() const { return (flags_ & (kWritable | kWriteDead)) == kWritable; }

// One system call for all of `bytes`; how many went.
size_t Connection::sendAll(const base::RingBuffer& bytes) {
  const std::array<Bytes, 2> parts = bytes.readable();
  return sent(parts[1].empty() ? os::sys::send(fd_, parts[0]) : os::sys::sendSegments(fd_, parts),
              bytes.size());
}

bool Connection::flushWire() {
  Cold* const cold = this->cold();
  if (cold == nullptr || cold->wire.empty()) return true;
  if (writable()) cold->wire.consume(sendAll(cold->wire.bytes()));
  if (!cold->wire.empty()) return false;
  cold->wire.release();
  if (!has(kTlsFailed)) cold->sealed = 0;
  dropColdIfIdle();
  return true;
}

// The outbox and then `segments` become records and go out, until the kernel is full, or of the outbox
// the socket's share of the turn is gone. Gives how many bytes of `segments` were taken.
size_t Connection::seal(std::span<const Bytes> segments) {
  if (has(kHandshaking) || !flushWire()) return 0;
  size_t used = 0;
  while (cold() != nullptr && !cold()->outbox.empty()) {
    if (used >= reactor().options().readBudget) {
      reactor().ready(*this);
      return 0;
    }
    const size_t size = sealSome(cold()->outbox.bytes().readable()[0]);
    cold()->outbox.consume(size);
    if (size == 0 || !passOn(size)) return 0;
    used += size;
  }
  dropColdIfIdle();
  size_t taken = 0;
  for (Bytes part : segments) {
    while (!part.empty()) {
      const size_t size = sealSome(part);
      taken += size;
      if (size == 0 || !passOn(size)) return taken;
      part = part.subspan(size);
    }
  }
  return taken;
}

// How much of the front of `bytes` is in records now: 0 when TLS has failed.
size_t Connection::sealSome(Bytes bytes) {
  const size_t size = std::min(bytes.size(), kSealAtOnce);
  Result<size_t> done = secure()->session.send(bytes.first(size));
  if (done && *done == size) return size;
  reactor().transport().output().clear();  // whole or visibly broken: not a part of it
  set(kReset);
  finish(done ? Error(Origin::kernel, ENOMEM, Step::write, "record") : done.error());
  return 0;
}

// What is queued, then our close_notify, then the FIN.
void Connection::flushSealed() {
  if (!flushWire() || has(kHandshaking)) return;
  if (!has(kCorked) && cold() != nullptr && !cold()->outbox.empty()) seal({});
  if (state_ != State::closed && has(kFinOwed) && notify()) sendFin();
}

// Our close_notify, behind all that is queued. True when the kernel has it.
bool Connection::notify() {
  if (queued() > 0 || has(kWriteDead)) return false;
  if (has(kNotified)) return true;
  set(kNotified);
  secure()->session.close();
  return passOn(0);
}

}  // namespace warren::net

#else

#include "net/hot_path.h"

namespace warren::net {

// No connection is ever secure in this build: nothing calls these.
void Connection::startTls(const SharedTls&) {}
void Connection::beginHandshake() {}
void Connection::dropSecure() {}
void Connection::decrypt(Bytes) {}
void Connection::keep(Bytes) {}
void Connection::decryptKept() {}
void Connection::handshakeFailed(const Error&, bool) {}
void Connection::endHandshake() {}
void Connection::streamCut() {}
void Connection::flushSealed() {}
bool Connection::notify() { return true; }
size_t Connection::seal(std::span<const Bytes>) { return 0; }
Result<void> Connection::upgrade(const SharedTls&, Bytes) { return {}; }

}  // namespace warren::net

#endif
