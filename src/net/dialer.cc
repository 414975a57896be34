#include "net/dialer.h"

#include <cerrno>
#include <optional>
#include <utility>

#include "net/proxy_protocol.h"
#include "net/reactor_impl.h"
#include "os/address.h"
#include "os/resolve.h"
#include "os/sys.h"

namespace warren::net {

namespace sys = os::sys;

namespace {

Dialed failedWith(Error error) {
  return {.stage = Dialed::Stage::failed, .error = std::move(error)};
}

Error connectError(sys::Answer answer, std::string what) {
  return {Origin::kernel, static_cast<int>(-answer), Step::connect, std::move(what)};
}

}  // namespace

std::vector<Address> interleave(const std::vector<Address>& addresses) {
  std::vector<Address> result;
  if (addresses.empty()) return result;
  const Family first = addresses[0].family();
  size_t same = 0;
  size_t other = 0;
  const auto take = [&](size_t& at, bool ofFirst) {
    while (at < addresses.size() && (addresses[at].family() == first) != ofFirst) ++at;
    if (at < addresses.size()) result.push_back(addresses[at++]);
  };
  while (result.size() < addresses.size()) {
    take(same, true);
    take(other, false);
  }
  return result;
}

Dialer::Dialer(ReactorImpl& reactor, base::SlotId socket, detail::ConnectRequest request)
    : reactor_(reactor),
      socket_(socket),
      request_(std::move(request)),
      given_(request_.fd.value_or(-1)) {}

Dialer::~Dialer() { reactor_.timers().cancel(staggerTimer_); }

std::string Dialer::target() const {
  if (request_.fd) return "fd " + std::to_string(*request_.fd);
  if (!request_.unix.empty()) return os::unixText(request_.unix);
  return request_.hostname + ":" + std::to_string(*request_.port);
}

bool Dialer::beginKnown() {
  if (request_.fd || !request_.unix.empty()) return false;
  auto known = os::knownAddresses(request_.hostname, 0);
  return known && onAddresses(std::move(*known)).stage == Dialed::Stage::pending;
}

Dialed Dialer::begin() {
  if (!addresses_.empty()) return failedWith(lastError_);  // known from the start, and of no use
  if (request_.fd) return adopt();
  if (!request_.unix.empty()) return connectUnix();
  // The user's resolver may throw, and may close the socket: nothing of ours is used after it.
  reactor_.dispatch(nullptr, [&resolver = reactor_.resolver(), host = request_.hostname,
                              socket = socket_] { resolver.ask(host, socket); });
  return {};
}

Dialed Dialer::adopt() {
  const int number = given_.get();
  const sys::Answer kind = sys::kindOf(number);
  if (kind < 0) return failedWith(connectError(kind, target()));
  if (kind != static_cast<sys::Answer>(sys::Kind::stream)) {
    return failedWith({Usage::invalid, Step::options, target() + " is no stream socket"});
  }
  if (const sys::Answer made = sys::adopt(number); made < 0) {
    return failedWith(connectError(made, target()));
  }
  const Address peer = sys::peerAddress(number);
  if (peer.family() == Family::none) return failedWith(connectError(-ENOTCONN, target()));
  if (peer.family() != Family::unix) sys::setNoDelay(number, true);
  return watched(std::move(given_), peer, true);
}

Dialed Dialer::connectUnix() {
  const sys::Answer made = sys::socket(Family::unix);
  if (made < 0) return failedWith(connectError(made, target()));
  os::Fd fd(static_cast<int>(made));
  const sys::Answer done = sys::connectUnix(fd.get(), request_.unix);
  if (done < 0) return failedWith(connectError(done, target()));
  return watched(std::move(fd), Address::unix(), false);
}

// A descriptor that is connected already; it comes under the socket's own token.
Dialed Dialer::watched(os::Fd fd, const Address& peer, bool adopted) {
  const uint64_t token = toToken(socket_, kSocketPart);
  Dialed progress = connected(std::move(fd), peer, adopted);
  if (progress.stage == Dialed::Stage::failed) return progress;
  // Last: others may hold the descriptor, and then closing it would not end the watch.
  Result<void> added = reactor_.poller().add(progress.fd.get(), token, os::Watch::stream);
  if (!added) return failedWith(added.error());
  return progress;
}

Dialed Dialer::connected(os::Fd fd, const Address& peer, bool adopted) {
  if (const int error = sendProxyHeader(fd.get()); error != 0) {
    return failedWith({Origin::kernel, error, Step::proxy, target()});
  }
  return {.stage = Dialed::Stage::connected, .fd = std::move(fd), .peer = peer, .adopted = adopted};
}

// A fresh connection has room for a header; one that has not is of no use. Gives an errno.
int Dialer::sendProxyHeader(int fd) const {
  if (!request_.proxyProtocol) return 0;
  const ProxyHeader& header = *request_.proxyProtocol;
  const auto either = [&](const Address& given, Address (*own)(int)) {
    if (header.local) return Address();
    return given.family() != Family::none ? given : own(fd);
  };
  const Address source = either(header.source, &sys::localAddress);
  const Address destination = either(header.destination, &sys::peerAddress);
  if (source.family() != destination.family()) return EAFNOSUPPORT;
  const std::string text = header.version == 1 ? proxyHeaderV1(source, destination)
                                               : proxyHeaderV2(source, destination, header.tlvs);
  const sys::Answer sent = sys::send(fd, asBytes(text));
  if (sent < 0) return static_cast<int>(-sent);
  return static_cast<size_t>(sent) == text.size() ? 0 : EMSGSIZE;
}

Dialed Dialer::onAddresses(Result<std::vector<Address>> addresses) {
  if (!addresses) return failedWith(addresses.error());
  std::erase_if(*addresses, [](const Address& address) {
    return address.family() != Family::ipv4 && address.family() != Family::ipv6;
  });
  addresses_ = interleave(*addresses);
  if (addresses_.empty()) {
    return failedWith({Usage::invalid, Step::resolve, request_.hostname + " has no address"});
  }
  return tryNext();
}

Dialed Dialer::tryNext() {
  while (nextAddress_ < addresses_.size()) {
    const Part place = freePlace();
    if (place == kMaxAttempts) break;
    const Address address =
        addresses_[nextAddress_++].withPort(static_cast<uint16_t>(*request_.port));
    const int error = start(attempts_[place], place, address);
    if (error == 0) {
      armStagger();
      return {};
    }
    lastError_ = connectError(-error, address.text());
  }
  return underWay() ? Dialed{} : failedWith(lastError_);
}

// 0, or why not. The connect comes before the watch: a socket that is not even connecting counts as
// hung up. One that connects at once is told by the poller like any other.
int Dialer::start(Attempt& attempt, Part place, const Address& address) {
  const sys::Answer made = sys::socket(address.family());
  if (made < 0) return static_cast<int>(-made);
  os::Fd fd(static_cast<int>(made));
  const sys::Answer begun = sys::connect(fd.get(), address);
  if (begun < 0 && begun != -EINPROGRESS) return static_cast<int>(-begun);
  Result<void> added = reactor_.poller().add(fd.get(), toToken(socket_, place), os::Watch::stream);
  if (!added) return added.error().code();
  attempt = {std::move(fd), address};
  return 0;
}

Dialed Dialer::onReady(Part place) {
  Attempt& attempt = attempts_[place];
  if (!attempt.fd) return {};  // an event of an attempt that has failed since
  const int fd = attempt.fd.get();
  int error = sys::pendingError(fd);
  std::array<std::byte, 1> byte;
  // A server may say why it does not want us and reset: that is a connection, and its data comes first.
  // And a pipe that is broken before anything was sent says that its end came before the reset.
  if (error == EPIPE || (error == ECONNRESET && sys::peek(fd, byte) > 0)) return won(place, error);
  if (error == 0) {
    const Address peer = sys::peerAddress(fd);
    if (peer.family() == Family::none) return {};  // not decided yet
    // TCP may connect a socket with itself when the port dialed is one the kernel hands out.
    if (peer == sys::localAddress(fd)) error = ECONNREFUSED;
  }
  if (error == 0) return won(place, 0);
  lastError_ = connectError(-error, attempt.address.text());
  attempt.fd.reset();
  return tryNext();
}

Dialed Dialer::won(Part place, int error) {
  Attempt attempt = std::move(attempts_[place]);
  if (place != kSocketPart) {
    attempts_[kSocketPart].fd.reset();
    Result<void> moved = reactor_.poller().retoken(attempt.fd.get(), toToken(socket_, kSocketPart));
    if (!moved) return failedWith(moved.error());
  }
  Dialed progress = connected(std::move(attempt.fd), attempt.address, false);
  const bool open = progress.stage == Dialed::Stage::connected;
  if (open && error != 0) progress.error = connectError(-error, attempt.address.text());
  return progress;
}

Dialed Dialer::onStagger() { return tryNext(); }

void Dialer::armStagger() {
  Timers& timers = reactor_.timers();
  if (nextAddress_ == addresses_.size()) return timers.cancel(staggerTimer_);
  const uint64_t delay = reactor_.options().connectStagger.count();
  if (staggerTimer_ != kNone) return timers.restart(timers.at(staggerTimer_), delay);
  TimerSlot* timer = timers.start(TimerKind::dialStagger, socket_.index, delay);
  if (timer != nullptr) staggerTimer_ = timer->index;
}

bool Dialer::underWay() const {
  for (const Attempt& attempt : attempts_) {
    if (attempt.fd) return true;
  }
  return false;
}

Part Dialer::freePlace() const {
  Part place = 0;
  while (place < kMaxAttempts && attempts_[place].fd) ++place;
  return place;
}

}  // namespace warren::net
