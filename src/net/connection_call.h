// How a connection calls a handler of its user. Only the files of Connection include it.
#pragma once

#include "net/connection.h"
#include "net/reactor_impl.h"

namespace warren::net {

// The handler may close the socket and reload its table; both live on until the sweep.
template <class... Args>
void Connection::call(const Callback<SocketHandle, Args...>& handler,
                      std::type_identity_t<Args>... args) {
  if (!handler) return;
  reactor().dispatch(this, [&] { handler(handle(), args...); });
}

}  // namespace warren::net
