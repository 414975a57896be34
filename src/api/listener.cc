// ListenerHandle: finds the slot, and forwards or answers with nothing.
#include "net/reactor_impl.h"
#include "warren/listen.h"

namespace warren {

namespace {

net::Listener* listenerOf(const detail::HandleId& id) {
  if (id.reactor == nullptr) return nullptr;
  return id.reactor->findListener({id.index, id.generation});
}

Error closedError() { return {Usage::closed, Step::options, "the listener is gone"}; }

}  // namespace

int ListenerHandle::port() const {
  net::Listener* listener = listenerOf(id_);
  return listener != nullptr ? listener->port() : 0;
}

std::string ListenerHandle::hostname() const {
  net::Listener* listener = listenerOf(id_);
  return listener != nullptr ? listener->hostname() : std::string();
}

std::string ListenerHandle::unixPath() const {
  net::Listener* listener = listenerOf(id_);
  return listener != nullptr ? listener->unixPath() : std::string();
}

std::vector<Address> ListenerHandle::addresses() const {
  net::Listener* listener = listenerOf(id_);
  return listener != nullptr ? listener->addresses() : std::vector<Address>();
}

void ListenerHandle::stop(bool closeActive) const {
  if (net::Listener* listener = listenerOf(id_)) listener->stop(closeActive);
}

void ListenerHandle::ownsPath(bool owns) const {
  if (net::Listener* listener = listenerOf(id_)) listener->ownsPath(owns);
}

Result<void> ListenerHandle::reloadTls(const TlsOptions& options) const {
  net::Listener* listener = listenerOf(id_);
  return listener != nullptr ? listener->reloadTls(options) : closedError();
}

Result<void> ListenerHandle::addServerName(std::string_view name, const TlsOptions& options) const {
  net::Listener* listener = listenerOf(id_);
  return listener != nullptr ? listener->addServerName(name, options) : closedError();
}

bool ListenerHandle::removeServerName(std::string_view name) const {
  net::Listener* listener = listenerOf(id_);
  return listener != nullptr && listener->removeServerName(name);
}

bool ListenerHandle::listening() const {
  net::Listener* listener = listenerOf(id_);
  return listener != nullptr && listener->listening();
}

std::vector<int> ListenerHandle::descriptors() const {
  net::Listener* listener = listenerOf(id_);
  return listener != nullptr ? listener->descriptors() : std::vector<int>();
}

Result<void> ListenerHandle::drain(Duration deadline, DrainDone done) const {
  net::Listener* listener = listenerOf(id_);
  if (listener == nullptr || listener->cell() == nullptr) {
    return closedError();
  }
  return id_.reactor->drain(listener, deadline, std::move(done));
}

size_t ListenerHandle::connectionCount() const {
  net::Listener* listener = listenerOf(id_);
  return listener != nullptr && listener->cell() != nullptr ? listener->cell()->openSockets : 0;
}

ListenerStats ListenerHandle::stats() const {
  net::Listener* listener = listenerOf(id_);
  return listener != nullptr ? listener->stats() : ListenerStats();
}

void ListenerHandle::ref() const {
  if (net::Listener* listener = listenerOf(id_)) listener->setReferenced(true);
}

void ListenerHandle::unref() const {
  if (net::Listener* listener = listenerOf(id_)) listener->setReferenced(false);
}

void* ListenerHandle::requireData() const {
  net::Listener* listener = listenerOf(id_);
  if (listener == nullptr || listener->cell() == nullptr) {
    detail::refuse({Usage::closed, Step::none, "data() of a listener that is gone"});
  }
  return listener->cell()->data.get();
}

Result<void> ListenerHandle::reloadTable(HandlerTable table) const {
  net::Listener* listener = listenerOf(id_);
  if (listener == nullptr || listener->cell() == nullptr) {
    return closedError();
  }
  return id_.reactor->reload(*listener->cell(), std::move(table));
}

}  // namespace warren
