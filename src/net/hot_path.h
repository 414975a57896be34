// What nearly every message takes: an event, a read, a call of a handler, a write. Each of these steps
// costs as much as all the others together when it is a call of its own, so they are inline, and all
// that is rare stays behind a call.
#pragma once

#include <iterator>

#include "base/poison.h"
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

inline os::sys::Answer Connection::receive() {
  ReactorImpl& reactor = this->reactor();
  ++reactor.stats().reads;
  base::unpoison(reactor.receiveBuffer());
  return os::sys::recv(fd_, reactor.receiveBuffer());
}

inline void Connection::countRead(size_t size) {
  bytesRead_ += size;
  cell_->bytesRead += size;
}

inline void Connection::deliver(Bytes bytes) {
  call(cell_->table->data, bytes);
  base::poison(bytes);
}

// Nearly every event says that an open socket with nothing else on its mind has input: less than fits
// in the buffer. One question tells it from the others; false: it is one of those, and nothing was done.
inline bool Connection::onInput(const os::Event& event) {
  const uint32_t told = flags_ | event.ready;
  if (state_ != State::open || cold_ != nullptr || (told & (kUnquiet | kReadable)) != kReadable) {
    return false;
  }
  flags_ = told;
  const os::sys::Answer count = receive();
  if (count <= 0 || count == os::sys::Answer{ReactorImpl::kReceiveBuffer}) [[unlikely]] {
    tookAllOrNone(count);
    return true;
  }
  clear(kReadable);
  countRead(static_cast<size_t>(count));
  deliver(reactor().receiveBuffer().first(static_cast<size_t>(count)));
  return true;
}

// Nearly every write is of an open socket with nothing queued, and the kernel takes it all.
inline std::ptrdiff_t Connection::write(Bytes bytes) {
  if ((flags_ & (kUnstraight | kWritable)) != kWritable || state_ != State::open ||
      cold_ != nullptr || bytes.empty()) {
    return writeSlowly(bytes);
  }
  const os::sys::Answer answer = os::sys::send(fd_, bytes);
  if (answer != std::ssize(bytes)) [[unlikely]]
    return wroteLess(answer, bytes.size());
  ++reactor().stats().writes;
  cell_->bytesWritten += bytes.size();
  bytesWritten_ += bytes.size();
  return answer;
}

}  // namespace warren::net
