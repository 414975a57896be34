// Reactor: waits and dispatches; one per thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "warren/address.h"
#include "warren/callback.h"
#include "warren/config.h"
#include "warren/connect.h"
#include "warren/duration.h"
#include "warren/listen.h"
#include "warren/result.h"
#include "warren/socket.h"

namespace warren {

// Looks a host name up: calls `answer` once with its addresses (their ports are ignored), from any
// thread, at once or later, also when the reactor is gone by then.
using ResolveAnswer = std::function<void(Result<std::vector<Address>>)>;
using Resolve = std::function<void(const std::string& host, ResolveAnswer answer)>;

struct ReactorOptions {
  // Sockets to make room for, in the first listen or connect with a Data of each size; on the plain path
  // nothing is allocated for them from then on, up to that many.
  size_t maxSockets = 0;
  // Bytes one socket may read, or seal of what it has queued, and connections one listener may accept,
  // before others have a turn.
  size_t readBudget = size_t{256} << 10;
  size_t acceptBudget = 64;
  // Bytes that may be queued on all sockets together, beside what each may by its own `maxQueued`. Once they
  // are, `send` and `end` go to the kernel at once, and close their socket the same way if it is full.
  size_t maxQueued = size_t{1} << 30;
  // TLS handshakes that may go a step on in one turn. A step costs up to a millisecond of cryptography,
  // which sockets that are open already wait for; they come first in each turn.
  size_t handshakeBudget = 4;
  // Answers the names that `connect` is given, in place of the system's resolver, which runs
  // getaddrinfo(3) on up to four threads of its own. Numeric addresses and "localhost" never reach it,
  // nor do the names of `listen`.
  Resolve resolve{};
  // RFC 8305: the time an address is given before the next one is tried beside it.
  Duration connectStagger = std::chrono::milliseconds(250);
};

// Counters since the start, always on.
struct Stats {
  uint64_t turns = 0;
  uint64_t idleTurns = 0;  // that found nothing to do: if they grow by themselves, something spins
  uint64_t events = 0;     // told by the kernel
  uint64_t staleEvents = 0;  // for something that is gone
  uint64_t readyRuns = 0;    // sockets that had work left from before
  uint64_t timersFired = 0;
  uint64_t functionsRun = 0;  // posted and deferred ones
  uint64_t accepted = 0;
  uint64_t acceptFailures = 0;
  uint64_t opened = 0;
  uint64_t connectFailures = 0;
  uint64_t handshakes = 0;  // TLS
  uint64_t handshakeFailures = 0;
  uint64_t closed = 0;
  uint64_t bytesRead = 0;
  uint64_t bytesWritten = 0;  // taken by the kernel
  uint64_t reads = 0;         // system calls
  uint64_t writes = 0;
  uint64_t shortWrites = 0;
  uint64_t drains = 0;
  size_t sockets = 0;                      // now: all of them, connecting and lingering ones too
  size_t queuedBytes = 0;                  // now: in all outboxes; of TLS, records too
  size_t slots = 0;                        // now: sockets, timers and listeners
  size_t memoryBytes = 0;                  // now: held by the slots
  std::chrono::nanoseconds longestTurn{};  // without the waiting
};

class Reactor;

namespace detail {
// What a Reactor leaves in its place when it is moved, and its `defer`: for who waits meanwhile.
net::ReactorImpl& reactorOf(Reactor& reactor);
void defer(net::ReactorImpl& reactor, Callback<> function);
}  // namespace detail

// A timer of Reactor::after or every. A handle, as SocketHandle.
class Timer {
 public:
  Timer() = default;
  // Stops it; harmless when it has fired or was cancelled.
  void cancel() const;
  bool active() const;
  // As SocketHandle's.
  void ref() const;
  void unref() const;

 private:
  friend class Reactor;
  explicit Timer(detail::HandleId id) : id_(id) {}
  detail::HandleId id_;
};

// Everything belongs to the thread that runs it, except `post` and `stop`. What such a call brings about
// may destroy the reactor before the call has returned; a call that is late may not come. A child process
// of fork(2) must not use its parent's reactor, nor its sockets: `run` and `step` stop it with a message,
// all else would speak on the parent's connections.
class Reactor {
 public:
  // Throws BadResult, or aborts, when the system gives no poller; `make` answers an error.
  explicit Reactor(ReactorOptions options = {});
  static Result<Reactor> make(ReactorOptions options = {});

  // Closes every descriptor and destroys every Data; no handler runs. Posted and deferred functions that
  // still wait are destroyed unrun, and so is what their destructors post or defer. Not from inside a turn:
  // neither by a handler nor by what dies in one.
  ~Reactor();
  Reactor(Reactor&&) noexcept;
  Reactor& operator=(Reactor&&) = delete;

  // Turns until `stop`, or until nothing is left that keeps it going: referenced listeners, sockets
  // (finished ones too, until their peers have ended or `linger` cuts them) and timers, posted and
  // deferred functions. May be called
  // again. Inside a handler it does nothing and gives 0.
  //   returns  the code given to `stop`, 0 without
  //   throws   what a handler threw and no `error` handler took; nothing is lost, call it again
  int run();

  // One turn: wait for at most `patience`, dispatch, return. True while something keeps it going. A span
  // above 100 years, as milliseconds::max(), waits as long as it takes; one below zero not at all.
  bool step(Duration patience = {});

  // Makes `run` return after the turn under way; before `run`, the next one returns at once. `step` takes
  // no notice. Any thread, but no signal handler: see onSignal.
  void stop(int code = 0);

  // Runs `function` on the reactor's thread, in the order of posting: in the turn under way, if its
  // handlers or timers post it, else in the next. Any thread.
  void post(Callback<> function);

  // Runs `function` at the end of this turn, after all handlers, or before an `end` that this turn
  // still tells, if that is sooner: Bun's queueMicrotask.
  void defer(Callback<> function);

  // Calls `function` once, `delay` from here; or again and again, each time `period` after the last
  // deadline, late ones left out. Never early. A dropped handle leaves the timer running.
  //   errors  Usage::outOfRange for spans below zero or above 100 years, or a period of zero;
  //           Usage::missing for no function
  Result<Timer> after(Duration delay, Callback<> function);
  Result<Timer> every(Duration period, Callback<> function);

  // Calls `function` in the turn after a signal arrived; an empty one lets go of the signal, which
  // puts back what the process did with it before. It does not keep `run` going. One reactor of a
  // process may watch a signal.
  //   errors  Usage::outOfRange, Usage::conflict, or the kernel's
  Result<void> onSignal(int signal, Callback<> function);

  // Listens. Nothing is bound when it fails.
  //   errors  Usage codes for options; the kernel's and the resolver's with address and step
  template <class Data = Empty>
  Result<Listener<Data>> listen(ListenOptions<Data>&& options) {
    Result<detail::HandleId> id = startListening(detail::listenRequest(std::move(options)));
    if (!id) return id.error();
    return Listener<Data>(*id);
  }
  template <class Data>
  Result<Listener<Data>> listen(const ListenOptions<Data>& options) {
    return listen(ListenOptions<Data>(options));
  }

  // Starts connecting and returns the socket at once; no handler runs inside the call. All verbs work
  // already: what is sent goes out after `open`.
  //   errors  options, memory, and what copying the option `data` threw (Origin::handler); everything
  //           else is told to `connectError`
  template <class Data = Empty>
  Result<Socket<Data>> connect(ConnectOptions<Data>&& options) {
    Result<SocketHandle> handle = startConnecting(detail::connectRequest(std::move(options)));
    if (!handle) return handle.error();
    return Socket<Data>(*handle);
  }
  template <class Data>
  Result<Socket<Data>> connect(const ConnectOptions<Data>& options) {
    return connect(ConnectOptions<Data>(options));
  }

  // ListenerHandle::drain for all listeners and all sockets, dialed ones too. From the deadline until it
  // is done, connect is refused with Usage::closed.
  Result<void> drain(Duration deadline, DrainDone done = {});

  Stats stats() const;

  // For people: why the reactor is awake, and one line for each listener and socket with its state,
  // latches, outbox and timers. Costs as much as there are sockets.
  std::string dump() const;

  // For embedding in another loop: wait until `pollFd` is readable or `nextDeadline` is up, then
  // `step()`. A deadline of zero means there is work already; none, that only the descriptor counts.
  int pollFd() const;
  std::optional<std::chrono::milliseconds> nextDeadline() const;

 private:
  friend net::ReactorImpl& detail::reactorOf(Reactor& reactor);

  explicit Reactor(std::unique_ptr<net::ReactorImpl> impl);
  Result<Timer> startTimer(Duration delay, const char* option, Duration period,
                           Callback<> function);
  Result<detail::HandleId> startListening(detail::ListenRequest request);
  Result<SocketHandle> startConnecting(detail::ConnectRequest request);

  std::unique_ptr<net::ReactorImpl> impl_;
};

}  // namespace warren
