// ReactorImpl: the turn, and what all sockets of a reactor share.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/slab.h"
#include "net/connection.h"
#include "net/drain.h"
#include "net/handler_cell.h"
#include "net/listener.h"
#include "net/mailbox.h"
#include "net/resolver.h"
#include "net/timers.h"
#include "os/platform.h"
#include "os/poller.h"
#include "os/signal.h"
#include "warren/reactor.h"

namespace warren::net {

// One reactor. Owner: the public Reactor. Everything in src/net is reached from here and, apart from
// the mailbox, belongs to one thread.
class ReactorImpl {
 public:
  static Result<std::unique_ptr<ReactorImpl>> make(ReactorOptions options);
  ~ReactorImpl();
  // In a child that was forked in the middle of a turn its lists are half done, and it cannot be destroyed.
  bool inForkedTurn() const { return (inTurn_ || depth_ > 0) && inChild(); }

  // --- running -----------------------------------------------------------------------------------

  int run();
  static constexpr uint64_t kForever = UINT64_MAX;
  bool step(uint64_t patience);  // milliseconds, or kForever
  void stop(int code) { mailbox_.stop(code); }
  void post(Callback<> function) { mailbox_.post(std::move(function)); }
  void defer(Callback<> function);
  // At the end of the turn, and before a socket is told of its peer's end.
  void runDeferred();
  Result<TimerSlot*> startTask(uint64_t delay, uint64_t period, Callback<> task);
  void cancelTask(TimerSlot& timer);
  Result<void> onSignal(int signal, Callback<> function);
  std::optional<uint64_t> nextDeadline() const;

  // `listener` null: everything.
  Result<void> drain(Listener* listener, Duration deadline, DrainDone done);

  Result<Listener*> listen(detail::ListenRequest request);
  Result<Connection*> connect(detail::ConnectRequest request);

  // What a handle names, closed or not; nullptr for stale ones.
  Connection* findConnection(base::SlotId id) { return static_cast<Connection*>(slab_.find(id)); }
  Listener* findListener(base::SlotId id) { return static_cast<Listener*>(slab_.find(id)); }
  TimerSlot* findTimer(base::SlotId id) { return static_cast<TimerSlot*>(slab_.find(id)); }

  // --- for connections and listeners -------------------------------------------------------------

  // A connection in its slot with its Data, in State::connecting.
  Result<Connection*> makeConnection(HandlerCell& cell);
  // Slots for maxSockets of them, if there are none yet.
  Result<void> makeRoom(const detail::SocketRequest& request);
  HandlerCell* makeCell(detail::SocketRequest request, base::SlotId listener);
  void releaseCell(HandlerCell& cell);
  // Puts another table in; the old one dies at the sweep.
  Result<void> reload(HandlerCell& cell, HandlerTable table);
  // STARTTLS; `leftover` is the beginning of it.
  Result<void> upgrade(Connection& socket, const TlsOptions& options, Bytes leftover);

  // Runs a function of the user's: the one place where warren calls it. `socket` gets what it throws.
  template <class Function>
  void dispatch(Connection* socket, const Function& function);

  void ready(Connection& socket);       // work is left: onWorkLeft soon
  bool takeHandshakeStep();             // false: this turn has had its share of cryptography
  void flushLater(Connection& socket);  // flushQueued when the handler under way returns
  void retire(Connection& socket);      // the sweep looks at it
  void retire(Listener& listener);
  void addReference() { ++references_; }
  void dropReference();

  HandlerCell* cells() const { return cells_; }
  size_t socketCount() const { return sockets_; }

  ColdPool& colds() { return colds_; }

  base::Slab& slab() { return slab_; }
  os::Poller& poller() { return poller_; }
  Timers& timers() { return timers_; }
  Resolver& resolver() { return resolver_; }
  Stats& stats() { return stats_; }
  const Stats& stats() const { return stats_; }
  Stats snapshot() const;
  std::string dump() const;
  const ReactorOptions& options() const { return options_; }
  // A page-aligned block; 16 bytes off costs a third of bulk throughput on some processors.
  static constexpr size_t kReceiveBuffer = size_t{64} << 10;
  std::span<std::byte> receiveBuffer() const { return {receiveBuffer_.get(), kReceiveBuffer}; }
  // For TLS: where plaintext is put, and the way of ciphertext.
  std::span<std::byte> plainBuffer() const { return {plainBuffer_.get(), kReceiveBuffer}; }
#if WARREN_TLS
  tls::Transport& transport() { return transport_; }
#endif
  Result<void> prepareTls(const TlsPolicy* policy);

 private:
  static constexpr size_t kPage = 4096;
  struct FreeBlock {
    void operator()(std::byte* block) const;
  };
  using Block = std::unique_ptr<std::byte[], FreeBlock>;

  ReactorImpl(ReactorOptions options, os::Poller poller, Block receiveBuffer);

  // The turn, in its order.
  void turn(uint64_t patience);
  void takeTurn(uint64_t patience);
  int64_t timeToWait(uint64_t patience) const;
  void dispatchEvents(std::span<const os::Event> events);
  void dispatchEvent(base::Slot* slot, const os::Event& event);
  void runAnswers();
  void runReadyList();
  void runTimers();
  void runTimer(TimerSlot& timer);
  void runPosted();
  void runAll();
  uint64_t workDone() const;
  void runSignals();
  void sweep();
  void stopListeners();
  void finishDrains();
  void forgetListeners();

  void flushPending();
  void handlerThrew(Connection* socket);  // what is being handled
  void rethrowUncaught();
  bool workLeft() const;
  bool drainDone() const;
  bool alive() const;
  void dropFunctions();
  bool inChild() const;
  void checkProcess() const;
  Result<void> checkAlive() const;
  bool listensOn(int fd);
  bool holds(int fd);

  ReactorOptions options_;
  os::Poller poller_;
  base::Slab slab_;
  Timers timers_;
  Mailbox mailbox_;
  Resolver resolver_;
  os::SignalWatch signals_;
  std::array<Callback<>, 64> signalHandlers_;
  Block receiveBuffer_;
  Block plainBuffer_;  // once there is TLS
#if WARREN_TLS
  tls::Transport transport_;
#endif
  Stats stats_;

  size_t sockets_ = 0;
  size_t references_ = 0;
  uint64_t swept_ = 0;
  uint64_t longestTurn_ = 0;  // nanoseconds
  int depth_ = 0;             // handlers on the stack
  bool inTurn_ = false;
  bool ending_ = false;  // by its destructor
  bool flushing_ = false;
  const uint32_t forkCount_;

  uint32_t readyHead_ = kNone;  // linked through Connection::nextReady_
  uint32_t readyTail_ = kNone;
  size_t handshakesLeft_ = 0;  // of this turn
  std::vector<Connection*> flushList_;
  std::vector<Connection*> retired_;
  std::vector<Connection*> sweeping_;  // keeps its memory between turns
  std::vector<Listener*>
      stopped_;  // stopped listeners whose facts may still be asked, oldest first
  std::vector<std::unique_ptr<HandlerTable>> replacedTables_;
  std::vector<Callback<>> deferred_;
  std::vector<Callback<>> running_;  // those of deferred_ or the mailbox that are being run
  std::vector<std::exception_ptr> uncaught_;
  ColdPool colds_;
  HandlerCell* cells_ = nullptr;
  std::vector<std::unique_ptr<Drain>> drains_;
};

template <class Function>
[[gnu::always_inline]] inline void ReactorImpl::dispatch(Connection* socket,
                                                         const Function& function) {
  ++depth_;
#if WARREN_EXCEPTIONS
  try {
    function();
  } catch (...) {
    handlerThrew(socket);
  }
#else
  static_cast<void>(socket);
  function();
#endif
  if (--depth_ == 0 && !flushList_.empty()) flushPending();
}

}  // namespace warren::net
