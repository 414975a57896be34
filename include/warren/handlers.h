// What a user fills to hear of a socket, and the form of it that dispatch calls.
#pragma once

#include <concepts>
#include <utility>

#include "warren/bytes.h"
#include "warren/callback.h"
#include "warren/result.h"

namespace warren {

class SocketHandle;
template <class Data>
class Socket;

// The `Data` of sockets that carry none.
struct Empty {};

// One handler: any callable that takes a Socket<Data> and `Args...`; what it returns is ignored.
// Copies share the callable, so one table may serve many listeners and dialed sockets.
template <class Data, class... Args>
class Handler : public Callback<SocketHandle, Args...> {
 public:
  Handler() = default;

  template <class F>
    requires(!std::derived_from<F, Handler>)
  Handler(F callable) {
    constexpr bool fits = std::invocable<F&, Socket<Data>, Args...>;
    constexpr bool foreign = std::derived_from<F, Callback<SocketHandle, Args...>>;
    static_assert(fits, "a handler takes a Socket<Data> by value, then what SocketHandlers says");
    static_assert(!foreign, "this handler is for sockets with another Data");
    if constexpr (fits && !foreign) {
      this->template keep<Socket<Data>, Args...>(std::move(callable));
    }
  }
};

// The handlers of the sockets of one listener, or of one dialed socket. Each may be missing, except
// that `data` or `drain` must be there. In the order of a socket's life:
//
//   open          the socket is ready for use
//   data          bytes arrived; they are the reactor's and valid until the handler returns
//   drain         a socket that refused bytes has room again; once for each time it was full. None
//                 comes after our own `end` or `shutdown` of the write side
//   end           the peer sends no more. Without allowHalfOpen our own end follows, behind what is
//                 queued and behind a `drain` that is owed: who goes on writing in it is not cut short
//   close         the socket is gone; once for each `open`, last. The error is empty (false) after a
//                 clean close, and when `handshake` has told the failure; else it says what cut the
//                 socket. Data and addresses may still be read
//   error         another handler threw; the socket goes on. After a `close` that threw it is last. Or,
//                 alone and without `open`: the TLS handshake of an accepted socket failed, and there
//                 is no `handshake` handler. Then the error has no exception(), and the socket is closed
//   timeout       the time set by `timeout` or `idleTimeout` is up. A handler that arms it again
//                 keeps the socket; otherwise it closes with ETIMEDOUT, and what it has said with `end` is
//                 still delivered
//   handshake     TLS is agreed on (true); the error says what verification found, where nobody insists
//                 on it. Or it has failed (false), the error says why, nothing can be sent any more, and
//                 `close` follows. A table that has it opens before the handshake
//   connectError  a dialed socket could not be opened; instead of `open`, and nothing follows but
//                 `error`, if this one throws
//
// A handler may call anything on any socket, listener, timer or the reactor, but may not destroy the
// reactor. An exception it throws goes to `error`, or leaves Reactor::run if there is none. It must not
// throw where the library was built without exceptions.
template <class Data = Empty>
struct SocketHandlers {
  Handler<Data> open{};
  Handler<Data, Bytes> data{};
  Handler<Data> drain{};
  Handler<Data> end{};
  Handler<Data, const Error&> close{};
  Handler<Data, const Error&> error{};
  Handler<Data> timeout{};
  Handler<Data, bool, const Error&> handshake{};
  Handler<Data, const Error&> connectError{};
};

// The same table without the type of `Data`: what dispatch calls.
struct HandlerTable {
  Callback<SocketHandle> open;
  Callback<SocketHandle, Bytes> data;
  Callback<SocketHandle> drain;
  Callback<SocketHandle> end;
  Callback<SocketHandle, const Error&> close;
  Callback<SocketHandle, const Error&> error;
  Callback<SocketHandle> timeout;
  Callback<SocketHandle, bool, const Error&> handshake;
  Callback<SocketHandle, const Error&> connectError;

  HandlerTable() = default;

  template <class Data>
  explicit HandlerTable(SocketHandlers<Data> handlers)
      : open(std::move(handlers.open)),
        data(std::move(handlers.data)),
        drain(std::move(handlers.drain)),
        end(std::move(handlers.end)),
        close(std::move(handlers.close)),
        error(std::move(handlers.error)),
        timeout(std::move(handlers.timeout)),
        handshake(std::move(handlers.handshake)),
        connectError(std::move(handlers.connectError)) {}

  // A table that could never see or answer a byte is a mistake.
  bool usable() const { return data || drain; }
};

}  // namespace warren
