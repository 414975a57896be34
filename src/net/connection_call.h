// How a connection calls a handler of its user. Only the files of Connection include it. A call costs
// as much as the rest of a turn's work for a small message, so these are always inlined.
#pragma once

#include "net/connection.h"
#include "net/reactor_impl.h"

namespace warren::net {

// The handler may close the socket and reload its table; both live on until the sweep.
template <class... Args>
[[gnu::always_inline]] inline void Connection::call(const Callback<SocketHandle, Args...>& handler,
                                                    std::type_identity_t<Args>... args) {
  if (!handler) return;
  reactor().dispatch(this, [&] { handler(handle(), args...); });
}

}  // namespace warren::net
