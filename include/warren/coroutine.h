// Coroutines over warren. Nothing else needs this header, and <warren/warren.h> leaves it out.
//
//   warren::Routine greet(warren::Reactor& reactor) {
//     warren::ConnectOptions<> options = {.hostname = "localhost", .port = 8080, ...};
//     auto socket = co_await warren::connectAsync(reactor, std::move(options));
//     if (!socket) co_return;
//     co_await warren::sleep(reactor, 10ms);
//     socket->end("hello");
//   }
//
// The options have a name because GCC 12 destroys temporaries of a co_await expression twice.
#pragma once

#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "warren/reactor.h"

namespace warren {

// The simplest owner of a coroutine. It runs from `start` to its first wait, then whenever what it
// waits for has come, at the end of that turn. Destroying the Routine destroys the coroutine where it
// waits, which cancels what it waits for.
//   lifetime  ends before that of the reactor it waits on
//   throws    what the coroutine throws leaves `start`, or Reactor::run
class [[nodiscard]] Routine {
 public:
  struct promise_type {
    Routine get_return_object() { return Routine(Handle::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {
#if defined(__cpp_exceptions)
      throw;
#else
      std::terminate();
#endif
    }
  };

  Routine(Routine&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Routine& operator=(Routine&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Routine() {
    if (handle_) handle_.destroy();
  }

  void start() { handle_.resume(); }
  bool done() const { return !handle_ || handle_.done(); }

 private:
  using Handle = std::coroutine_handle<promise_type>;
  explicit Routine(Handle handle) : handle_(handle) {}
  Handle handle_;
};

namespace detail {

// What a waiting coroutine and the callback it waits for have in common. The callback may come after
// the coroutine is gone, and the coroutine may wait after the callback has come.
template <class Value>
struct Waiting {
  net::ReactorImpl& reactor;
  std::coroutine_handle<> coroutine;
  std::optional<Value> value;

  // Wakes the coroutine at the end of the turn, with no handler on the stack.
  static void settle(const std::shared_ptr<Waiting>& waiting, Value value) {
    if (waiting->value) return;
    waiting->value.emplace(std::move(value));
    defer(waiting->reactor, [waiting] {
      if (auto resumed = std::exchange(waiting->coroutine, {})) resumed.resume();
    });
  }
};

}  // namespace detail

// `co_await` gives the Result<Socket<Data>> of a connect: the socket once its `open` handler has
// returned, or the error after its `connectError` handler has. A coroutine destroyed before that
// closes the socket.
template <class Data>
class [[nodiscard]] Connecting {
 public:
  Connecting(Reactor& reactor, ConnectOptions<Data>&& options)
      : waiting_(std::make_shared<Waiting>(Waiting{detail::reactorOf(reactor), {}, {}})) {
    hookOpen(options.socket);
    hookError(options.socket);
    Result<Socket<Data>> socket = reactor.connect<Data>(std::move(options));
    if (socket) {
      socket_ = *socket;
    } else {
      waiting_->value.emplace(socket.error());
    }
  }
  Connecting(const Connecting&) = delete;
  Connecting& operator=(const Connecting&) = delete;
  ~Connecting() {
    waiting_->coroutine = {};
    if (!taken_) socket_.close();
  }

  bool await_ready() const { return waiting_->value.has_value(); }
  void await_suspend(std::coroutine_handle<> coroutine) { waiting_->coroutine = coroutine; }
  Result<Socket<Data>> await_resume() {
    taken_ = true;
    return std::move(*waiting_->value);
  }

 private:
  using Waiting = detail::Waiting<Result<Socket<Data>>>;

  // Settles when it goes, also when the handler before it has thrown.
  struct Settling {
    ~Settling() { Waiting::settle(waiting, std::move(result)); }
    const std::shared_ptr<Waiting>& waiting;
    Result<Socket<Data>> result;
  };

  void hookOpen(SocketHandlers<Data>& handlers) {
    handlers.open = [waiting = waiting_, open = handlers.open](Socket<Data> socket) {
      const Settling settling{waiting, socket};
      if (open) open(socket);
    };
  }
  void hookError(SocketHandlers<Data>& handlers) {
    handlers.connectError = [waiting = waiting_, connectError = handlers.connectError](
                                Socket<Data> socket, const Error& error) {
      const Settling settling{waiting, error};
      if (connectError) connectError(socket, error);
    };
  }

  std::shared_ptr<Waiting> waiting_;
  Socket<Data> socket_;
  bool taken_ = false;
};

template <class Data = Empty>
Connecting<Data> connectAsync(Reactor& reactor, ConnectOptions<Data>&& options) {
  return Connecting<Data>(reactor, std::move(options));
}
template <class Data>
Connecting<Data> connectAsync(Reactor& reactor, const ConnectOptions<Data>& options) {
  return Connecting<Data>(reactor, ConnectOptions<Data>(options));
}

// `co_await` returns after `delay`, never early. A coroutine destroyed before that cancels the timer.
//   errors  spans that Reactor::after refuses throw BadResult, or abort without exceptions
class [[nodiscard]] Sleeping {
 public:
  Sleeping(Reactor& reactor, Duration delay)
      : waiting_(std::make_shared<Waiting>(Waiting{detail::reactorOf(reactor), {}, {}})),
        timer_(
            reactor
                .after(delay, [waiting = waiting_] { Waiting::settle(waiting, std::monostate()); })
                .value()) {}
  Sleeping(const Sleeping&) = delete;
  Sleeping& operator=(const Sleeping&) = delete;
  ~Sleeping() {
    waiting_->coroutine = {};
    timer_.cancel();
  }

  bool await_ready() const { return waiting_->value.has_value(); }
  void await_suspend(std::coroutine_handle<> coroutine) { waiting_->coroutine = coroutine; }
  void await_resume() const {}

 private:
  using Waiting = detail::Waiting<std::monostate>;

  std::shared_ptr<Waiting> waiting_;
  Timer timer_;
};

inline Sleeping sleep(Reactor& reactor, Duration delay) { return Sleeping(reactor, delay); }

}  // namespace warren
