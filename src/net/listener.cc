#include "net/listener.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/check.h"
#include "net/reactor_impl.h"
#include "os/address.h"
#include "os/resolve.h"

namespace warren::net {

namespace sys = os::sys;

namespace {

constexpr uint64_t kRetry = 100;  // milliseconds until a starved listener looks again
constexpr uint64_t kHurry =
    10;  // of handshakeTimeout: how often a full listener looks for silent clients
constexpr int kSamePortAttempts = 16;  // to find one port that is free on several addresses

Error kernelError(sys::Answer answer, Step step, std::string what) {
  return {Origin::kernel, static_cast<int>(-answer), step, std::move(what)};
}

// An address family or address that this machine does not have.
bool unavailable(const Error& error) {
  return error.isErrno(EADDRNOTAVAIL) || error.isErrno(EAFNOSUPPORT);
}

// A connection that died in the queue, or a network that is down for the moment: accept(2) says to
// treat them like EAGAIN, but they say nothing about the next connection.
bool transient(int error) {
  switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ETIMEDOUT:
#ifdef ENONET
    case ENONET:
#endif
      return true;
    default:
      return false;
  }
}

Result<std::vector<Address>> addressesOf(const std::string& hostname, uint16_t port) {
  if (auto known = os::knownAddresses(hostname, port)) return std::move(*known);
  return os::lookUp(hostname, port);
}

Result<Endpoint> listenOn(const Address& address, const detail::ListenRequest& request) {
  const sys::Answer made = sys::socket(address.family());
  if (made < 0) return kernelError(made, Step::socket, address.text());
  os::Fd fd(static_cast<int>(made));
  const sys::BindOptions options = {
      .reuseAddress = true, .reusePort = request.reusePort, .ipv6Only = request.ipv6Only};
  if (sys::Answer bound = sys::bind(fd.get(), address, options); bound < 0) {
    return kernelError(bound, Step::bind, address.text());
  }
  if (sys::Answer done = sys::listen(fd.get(), request.backlog); done < 0) {
    return kernelError(done, Step::listen, address.text());
  }
  const Address local = sys::localAddress(fd.get());
  return Endpoint{std::move(fd), local};
}

// All addresses of a name on one port. Those this machine does not have are left out, if others are.
Result<std::vector<Endpoint>> listenOnAll(const std::vector<Address>& addresses,
                                          const detail::ListenRequest& request) {
  std::vector<Endpoint> endpoints;
  Error missing;
  for (const Address& address : addresses) {
    if (endpoints.size() == kMaxEndpoints) break;
    const bool follows = address.port() == 0 && !endpoints.empty();
    Result<Endpoint> endpoint =
        listenOn(follows ? address.withPort(endpoints[0].address.port()) : address, request);
    if (endpoint) {
      endpoints.push_back(std::move(*endpoint));
    } else if (unavailable(endpoint.error()) && addresses.size() > 1) {
      missing = endpoint.error();
    } else {
      return endpoint.error();
    }
  }
  if (endpoints.empty()) return missing;
  return endpoints;
}

Result<Binding> bindHost(const detail::ListenRequest& request) {
  const uint16_t port = static_cast<uint16_t>(*request.port);
  Result<std::vector<Address>> addresses = addressesOf(request.hostname, port);
  if (!addresses) return addresses.error();
  for (int attempt = 1;; ++attempt) {
    Result<std::vector<Endpoint>> endpoints = listenOnAll(*addresses, request);
    if (endpoints) {
      Binding binding;
      binding.endpoints = std::move(*endpoints);
      binding.hostname = request.hostname;
      return binding;
    }
    // The port that the kernel picked on the first address may be taken on the second.
    const bool unlucky = port == 0 && endpoints.error().isErrno(EADDRINUSE);
    if (!unlucky || attempt == kSamePortAttempts) return endpoints.error();
  }
}

Result<Binding> bindPath(const detail::ListenRequest& request) {
  Binding binding;
  const bool abstract = request.unix[0] == '\0';
  binding.unixPath = abstract ? request.unix : sys::absolutePath(request.unix);
  const std::string shown = os::unixText(binding.unixPath);
  const sys::Answer made = sys::socket(Family::unix);
  if (made < 0) return kernelError(made, Step::socket, shown);
  os::Fd fd(static_cast<int>(made));
  if (sys::Answer bound = sys::bindUnix(fd.get(), binding.unixPath); bound < 0) {
    return kernelError(bound, Step::bind, shown);
  }
  if (!abstract) binding.unixFile = sys::fileId(binding.unixPath);
  binding.endpoints.push_back(Endpoint{std::move(fd), Address::unix()});
  if (sys::Answer done = sys::listen(binding.endpoints[0].fd.get(), request.backlog); done < 0) {
    unbind(binding, true);
    return kernelError(done, Step::listen, shown);
  }
  return binding;
}

Result<Binding> adopt(const detail::ListenRequest& request) {
  const int number = *request.fd;
  const std::string shown = "fd " + std::to_string(number);
  const sys::Answer kind = sys::kindOf(number);
  if (kind < 0) return kernelError(kind, Step::socket, shown);
  if (kind != static_cast<sys::Answer>(sys::Kind::listener)) {
    return Error(Usage::invalid, Step::options, shown + " is not listening");
  }
  if (sys::Answer ready = sys::adopt(number); ready < 0) {
    return kernelError(ready, Step::socket, shown);
  }
  Binding binding;
  const Address address = sys::localAddress(number);
  if (address.family() != Family::unix) sys::setNoDelay(number, true);  // accepted ones inherit it
  binding.hostname = address.host();
  binding.unixPath = sys::unixPath(number);
  binding.endpoints.push_back(Endpoint{os::Fd(number), address});
  return binding;
}

}  // namespace

Result<Binding> bindEndpoints(const detail::ListenRequest& request) {
  if (request.fd) return adopt(request);
  return request.unix.empty() ? bindHost(request) : bindPath(request);
}

// The file goes first: once the descriptor is closed somebody else may bind the same path.
void unbind(Binding& binding, bool removeFile) {
  if (removeFile && binding.unixFile.found && sys::fileId(binding.unixPath) == binding.unixFile) {
    sys::unlink(binding.unixPath);
  }
  for (Endpoint& endpoint : binding.endpoints) endpoint.fd.reset();
}

// --- life ------------------------------------------------------------------------------------------

Listener::Listener(base::SlotId id, ReactorImpl& reactor, HandlerCell& cell, Binding binding,
                   detail::ListenRequest& request)
    : base::Slot(id),
      reactor_(reactor),
      cell_(&cell),
      binding_(std::move(binding)),
      maxConnections_(request.maxConnections),
      acceptError_(std::move(request.acceptError)) {
  if (request.proxyProtocol) {
    proxies_.emplace(Proxies{{}, request.proxyProtocol->maxHeader});
    for (const std::string& text : request.proxyProtocol->trusted) {
      proxies_->trusted.push_back(parseNetwork(text).value());  // checkOptions has seen it
    }
  }
  keepSpare();
}

Result<void> Listener::start(bool adopted) {
  Result<void> watched = watchAll();
  if (!watched) {
    if (adopted) binding_.endpoints[0].fd.release();  // it is alone, and not watched
    stop(false);
  }
  return watched;
}

void Listener::stop(bool closeActive) {
  if (!stopped_) {
    stopped_ = true;
    pauseAccepting();  // others may hold the descriptors too
    unbind(binding_, true);
    spare_.reset();
    cancelTimers();
    if (referenced_) reactor_.dropReference();
    if (closeActive) closeSockets();
    reactor_.releaseCell(*cell_);
    reactor_.retire(*this);
  } else if (closeActive && cell_ != nullptr) {
    closeSockets();
  }
}

void Listener::ownsPath(bool owns) {
  const bool file = owns && !binding_.unixPath.empty() && binding_.unixPath[0] != '\0';
  if (!stopped_) binding_.unixFile = file ? sys::fileId(binding_.unixPath) : sys::FileId();
}

void Listener::abandon(bool forked) {
  stopped_ = true;
  if (!forked) pauseAccepting();
  unbind(binding_, !forked);
  spare_.reset();
  cancelTimers();
  reactor_.releaseCell(*cell_);
}

// Closed sockets stay in the list until the sweep, so the walk outlives what handlers close.
void Listener::closeSockets() {
  base::Slab& slab = reactor_.slab();
  for (uint32_t at = cell_->firstSocket; at != kNone;) {
    auto* socket = static_cast<Connection*>(slab.at(at));
    at = socket->nextInCell();
    socket->close();
  }
}

void Listener::forget() {
  WARREN_CHECK(stopped_);
  // Moved out: a string that is only assigned over keeps its memory, and no destructor runs here.
  const Binding gone = std::move(binding_);
  acceptError_ = {};
  proxies_.reset();
}

void Listener::setReferenced(bool referenced) {
  if (stopped_ || referenced_ == referenced) return;
  referenced_ = referenced;
  referenced ? reactor_.addReference() : reactor_.dropReference();
}

int Listener::port() const {
  return binding_.endpoints.empty() ? 0 : binding_.endpoints[0].address.port();
}

std::vector<Address> Listener::addresses() const {
  std::vector<Address> addresses;
  for (const Endpoint& endpoint : binding_.endpoints) addresses.push_back(endpoint.address);
  return addresses;
}

std::vector<int> Listener::descriptors() const {
  std::vector<int> descriptors;
  if (stopped_) return descriptors;
  for (const Endpoint& endpoint : binding_.endpoints) descriptors.push_back(endpoint.fd.get());
  return descriptors;
}

ListenerStats Listener::stats() const {
  ListenerStats stats = stats_;
  if (cell_ == nullptr) return stats;
  stats.open = cell_->openSockets;
  stats.bytesRead = cell_->bytesRead;
  stats.bytesWritten = cell_->bytesWritten;
  return stats;
}

// The last socket of a stopped listener is gone.
void Listener::leaveCell() {
  stats_ = stats();
  stats_.open = 0;
  cell_ = nullptr;
}

void Listener::countFailure() {
  ++stats_.acceptFailures;
  ++reactor_.stats().acceptFailures;
}

// --- accepting -------------------------------------------------------------------------------------

// An accept that finds nothing costs as much as one that succeeds, and the poller tells again of what
// is left: so a bounded number, and no need to come to the end of the queue.
void Listener::onReady(Part place) {
  size_t left = reactor_.options().acceptBudget;
  while (!stopped_ && !paused_ && left-- > 0) {
    if (!acceptOne(binding_.endpoints[place])) return;
  }
}

bool Listener::fullOfHandshakes() const {
  const size_t maxHandshakes = cell_->tls != nullptr ? cell_->tls->maxHandshakes : 0;
  return maxHandshakes > 0 && cell_->handshakes >= maxHandshakes;
}

bool Listener::full() const {
  if (fullOfHandshakes()) return true;
  // The listener holds one of the references, each socket another.
  return maxConnections_ > 0 && cell_->references > maxConnections_;
}

bool Listener::acceptOne(Endpoint& endpoint) {
  if (full()) {
    pauseAccepting();
    if (fullOfHandshakes()) hurry();
    return false;
  }
  Address peer;
  const sys::Answer accepted = sys::accept(endpoint.fd.get(), peer);
  if (accepted < 0)
    return !sys::blocked(accepted) && acceptFailed(endpoint, static_cast<int>(-accepted));
  starved_ = false;
  admit(os::Fd(static_cast<int>(accepted)), peer);
  return true;
}

bool Listener::trusts(const Address& peer) const {
  if (peer.family() == Family::unix) return true;
  return std::any_of(proxies_->trusted.begin(), proxies_->trusted.end(),
                     [&](const Network& network) { return network.contains(peer); });
}

void Listener::admit(os::Fd fd, const Address& peer) {
  if (proxies_ && !trusts(peer)) {
    sys::reset(fd.release());
    return report({Origin::kernel, EPROTO, Step::proxy, peer.text() + " is not trusted"});
  }
  Result<Connection*> socket = reactor_.makeConnection(*cell_);
  if (!socket) return report(socket.error());
  const uint64_t token = toToken((*socket)->id(), kSocketPart);
  if (Result<void> added = reactor_.poller().add(fd.get(), token, os::Watch::stream); !added) {
    (*socket)->abandon();
    return report(added.error());
  }
  ++stats_.accepted;
  ++reactor_.stats().accepted;
  if (!proxies_) return (*socket)->connected(std::move(fd), peer, false);
  Result<void> greeting = (*socket)->greet(std::move(fd), peer, proxies_->maxHeader);
  if (!greeting) report(greeting.error());
}

// True: go on with the next one.
bool Listener::acceptFailed(Endpoint& endpoint, int error) {
  if (transient(error)) {
    countFailure();
    return true;
  }
  starve(endpoint, error);
  return false;
}

// Without descriptors the queue cannot be emptied and the poller would tell of it for ever: one client
// is turned away with the spare descriptor, the others wait until some descriptor is closed or a
// little time has passed.
void Listener::starve(Endpoint& endpoint, int error) {
  startTimer(retryTimer_, TimerKind::acceptRetry, kRetry);
  // Without memory for the timer either, it goes on being told: a busy listener, not a deaf one.
  if (retryTimer_ != kNone) pauseAccepting();
  if ((error == EMFILE || error == ENFILE) && spare_) {
    spare_.reset();
    Address peer;
    const sys::Answer shed = sys::accept(endpoint.fd.get(), peer);
    if (shed >= 0) sys::close(static_cast<int>(shed));
    keepSpare();
  }
  if (std::exchange(starved_, true)) return countFailure();
  report({Origin::kernel, error, Step::accept, endpoint.address.text()});
}

void Listener::report(const Error& error) {
  countFailure();
  reactor_.dispatch(nullptr, [&] {
    if (acceptError_) return acceptError_(error);
    if (error.exception()) std::rethrow_exception(error.exception());
  });
}

Result<void> Listener::watchAll() {
  for (size_t place = 0; place < binding_.endpoints.size(); ++place) {
    const uint64_t token = toToken(id(), kListenerPart + static_cast<Part>(place));
    const int fd = binding_.endpoints[place].fd.get();
    Result<void> added = reactor_.poller().add(fd, token, os::Watch::listener);
    if (!added) return added;
  }
  return {};
}

// Somebody else may have taken the last descriptor: then it is asked for again later.
void Listener::keepSpare() {
  if (spare_) return;
  if (const sys::Answer spare = sys::spare(); spare >= 0) spare_ = os::Fd(static_cast<int>(spare));
}

void Listener::pauseAccepting() {
  if (std::exchange(paused_, true)) return;
  for (Endpoint& endpoint : binding_.endpoints) reactor_.poller().remove(endpoint.fd.get());
}

void Listener::resumeAccepting() {
  reactor_.timers().cancel(retryTimer_);
  keepSpare();
  paused_ = false;
  if (Result<void> watched = watchAll(); !watched)
    starve(binding_.endpoints[0], watched.error().code());
}

void Listener::reconsider() {
  if (paused_ && !stopped_ && !full()) resumeAccepting();
}

// A handshake ends, which gives no descriptor back to one that waits for some.
void Listener::onHandshakeEnd() {
  if (retryTimer_ == kNone) reconsider();
}

void Listener::onRetryTime() {
  reactor_.timers().cancel(retryTimer_);
  reconsider();
}

void Listener::startTimer(uint32_t& place, TimerKind kind, uint64_t delay) {
  if (place != kNone) return;
  TimerSlot* timer = reactor_.timers().start(kind, index, delay);
  if (timer != nullptr) place = timer->index;
}

void Listener::cancelTimers() {
  reactor_.timers().cancel(retryTimer_);
  reactor_.timers().cancel(hurryTimer_);
}

// Silent clients would keep all others out for the whole of handshakeTimeout, at the price of a connect.
// The timer goes on when there is room again: one that leaves a single place free is no better.
void Listener::hurry() {
  const uint64_t limit = cell_->tls->handshakeTimeout.count();
  if (limit > 0) {
    startTimer(hurryTimer_, TimerKind::handshakeHurry, std::max<uint64_t>(limit / kHurry, 1));
  }
}

// Cuts those that were silent last time, and since.
void Listener::onHurryTime() {
  reactor_.timers().cancel(hurryTimer_);
  base::Slab& slab = reactor_.slab();
  for (uint32_t at = cell_->firstSocket; at != kNone;) {
    auto* socket = static_cast<Connection*>(slab.at(at));
    at = socket->nextInCell();
    if (socket->keepsWaiting()) socket->onDeadline();
  }
  if (!stopped_ && fullOfHandshakes()) hurry();
}

}  // namespace warren::net
