// Scoped: ends a socket or stops a listener with the scope it is in, as `using` does in JavaScript.
#pragma once

#include <utility>

#include "warren/listen.h"
#include "warren/socket.h"

namespace warren {

// Holds a handle, and when it goes calls `end()` on a socket, `stop(true)` on a listener: harmless if
// they are gone by then. Handles themselves own nothing. It may be moved, not copied.
//   lifetime  not beyond the reactor's
template <class Handle>
class [[nodiscard]] Scoped {
 public:
  explicit Scoped(Handle handle) : handle_(handle) {}
  Scoped(Scoped&& other) noexcept : handle_(std::exchange(other.handle_, Handle())) {}
  Scoped& operator=(Scoped&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Scoped() {
    if constexpr (requires { handle_.stop(true); }) {
      handle_.stop(true);
    } else {
      handle_.end();
    }
  }

  const Handle* operator->() const { return &handle_; }
  const Handle& operator*() const { return handle_; }
  // Lets go of it: it goes on without this scope.
  Handle release() { return std::exchange(handle_, Handle()); }

 private:
  Handle handle_;
};

}  // namespace warren
