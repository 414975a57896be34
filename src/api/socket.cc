// SocketHandle: finds the slot, and forwards or answers `closed`.
#include "warren/socket.h"

#include <string>

#include "net/hot_path.h"
#include "warren/array_buffer_sink.h"
#include "warren/tls.h"

namespace warren {

namespace {

using net::find;

Error closedError(Step step) { return {Usage::closed, step, "the socket is closed"}; }

}  // namespace

std::ptrdiff_t SocketHandle::write(Bytes bytes) const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->write(bytes) : -1;
}

std::ptrdiff_t SocketHandle::write(ArrayBufferSink& sink) const {
  net::Connection* socket = find(id_);
  if (socket == nullptr) return -1;
  const std::ptrdiff_t taken = socket->write(sink.readable());
  if (taken > 0) sink.consume(static_cast<size_t>(taken));
  return taken;
}

bool SocketHandle::send(Bytes bytes) const {
  net::Connection* socket = find(id_);
  return socket != nullptr && socket->send(bytes);
}

Cork SocketHandle::cork() const {
  net::Connection* socket = find(id_);
  return Cork(socket != nullptr && socket->cork() ? *this : SocketHandle());
}

Cork::~Cork() {
  net::Connection* socket = find(socket_.id_);
  if (socket != nullptr) socket->uncork();
}

void SocketHandle::flush() const {
  if (net::Connection* socket = find(id_)) socket->flush();
}

std::ptrdiff_t SocketHandle::end(Bytes bytes) const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->end(bytes) : -1;
}

void SocketHandle::close() const {
  if (net::Connection* socket = find(id_)) socket->close();
}

void SocketHandle::terminate() const {
  if (net::Connection* socket = find(id_)) socket->terminate();
}

void SocketHandle::shutdown(Side side) const {
  if (net::Connection* socket = find(id_)) socket->shutdown(side);
}

void SocketHandle::pause() const {
  if (net::Connection* socket = find(id_)) socket->pause();
}

void SocketHandle::resume() const {
  if (net::Connection* socket = find(id_)) socket->resume();
}

Result<void> SocketHandle::upgradeTls(const TlsOptions& options, Bytes leftover,
                                      Leftover policy) const {
  net::Connection* socket = find(id_);
  if (socket == nullptr || socket->state() == net::State::closed) {
    return closedError(Step::handshake);
  }
  if (policy == Leftover::fail && !leftover.empty()) {
    return Error(Usage::conflict, Step::handshake,
                 std::to_string(leftover.size()) + " bytes came behind the command");
  }
  return socket->cell().reactor.upgrade(*socket, options,
                                        policy == Leftover::feed ? leftover : Bytes());
}

Result<void> SocketHandle::timeout(Duration after) const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->setTimeout(after, false) : closedError(Step::timeout);
}

Result<void> SocketHandle::idleTimeout(Duration after) const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->setTimeout(after, true) : closedError(Step::timeout);
}

void SocketHandle::ref() const {
  if (net::Connection* socket = find(id_)) socket->setReferenced(true);
}

void SocketHandle::unref() const {
  if (net::Connection* socket = find(id_)) socket->setReferenced(false);
}

ReadyState SocketHandle::readyState() const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->readyState() : ReadyState::closed;
}

uint64_t SocketHandle::bytesWritten() const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->bytesWritten() : 0;
}

uint64_t SocketHandle::bytesRead() const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->bytesRead() : 0;
}

uint64_t SocketHandle::unsentBytes() const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->unsentBytes() : 0;
}

Address SocketHandle::remoteAddress() const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->remoteAddress() : Address();
}

Address SocketHandle::localAddress() const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->localAddress() : Address();
}

const ProxyHeader* SocketHandle::proxyHeader() const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->proxyHeader() : nullptr;
}

bool SocketHandle::setNoDelay(bool on) const {
  net::Connection* socket = find(id_);
  return socket != nullptr && socket->setNoDelay(on);
}

bool SocketHandle::setKeepAlive(bool on, Duration initialDelay) const {
  net::Connection* socket = find(id_);
  return socket != nullptr && socket->setKeepAlive(on, initialDelay);
}

bool SocketHandle::deadPeer(Duration after) const {
  net::Connection* socket = find(id_);
  return socket != nullptr && socket->deadPeer(after);
}

void* SocketHandle::findData() const {
  net::Connection* socket = find(id_);
  return socket != nullptr && socket->hasData() ? socket->data() : nullptr;
}

void* SocketHandle::requireData() const {
  void* data = findData();
  if (data == nullptr)
    detail::refuse({Usage::closed, Step::none, "data() of a socket that is gone"});
  return data;
}

Result<void> SocketHandle::reloadTable(HandlerTable table) const {
  net::Connection* socket = find(id_);
  return socket != nullptr ? socket->reload(std::move(table)) : closedError(Step::options);
}

detail::HandleId SocketHandle::listenerId() const {
  net::Connection* socket = find(id_);
  if (socket == nullptr || socket->readyState() == ReadyState::closed) return {};
  const base::SlotId listener = socket->cell().listener;
  if (listener == base::SlotId()) return {};
  return {&socket->cell().reactor, listener.index, listener.generation};
}

}  // namespace warren
