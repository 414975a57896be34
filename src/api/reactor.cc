// Reactor and Timer: forward to the implementation.
#include "warren/reactor.h"

#include <algorithm>

#include "net/options.h"
#include "net/reactor_impl.h"

namespace warren {

Reactor::Reactor(ReactorOptions options) : Reactor(make(std::move(options)).value()) {}

Reactor::Reactor(std::unique_ptr<net::ReactorImpl> impl) : impl_(std::move(impl)) {}
// Users' destructors may ask for it meanwhile, so it is there until it is gone: not so with every
// library's unique_ptr.
Reactor::~Reactor() {
  [[maybe_unused]] static const net::ReactorImpl* left = nullptr;  // no leak: the process is ending
  if (impl_ != nullptr && impl_->inForkedTurn()) {
    left = impl_.release();
  } else {
    delete impl_.get();
    static_cast<void>(impl_.release());
  }
}
Reactor::Reactor(Reactor&&) noexcept = default;

Result<Reactor> Reactor::make(ReactorOptions options) {
  Result<std::unique_ptr<net::ReactorImpl>> impl = net::ReactorImpl::make(std::move(options));
  if (!impl) return impl.error();
  return Reactor(std::move(*impl));
}

int Reactor::run() { return impl_->run(); }

bool Reactor::step(Duration patience) {
  if (patience.tooLong()) return impl_->step(net::ReactorImpl::kForever);
  return impl_->step(patience.valid() ? patience.count() : 0);
}

void Reactor::stop(int code) { impl_->stop(code); }

void Reactor::post(Callback<> function) {
  if (function) impl_->post(std::move(function));
}

void Reactor::defer(Callback<> function) {
  if (function) impl_->defer(std::move(function));
}

Result<Timer> Reactor::after(Duration delay, Callback<> function) {
  return startTimer(delay, "delay", {}, std::move(function));
}

Result<Timer> Reactor::every(Duration period, Callback<> function) {
  if (period.zero()) return Error(Usage::outOfRange, Step::options, "period is zero");
  return startTimer(period, "period", period, std::move(function));
}

Result<Timer> Reactor::startTimer(Duration delay, const char* option, Duration period,
                                  Callback<> function) {
  if (Result<void> checked = net::checkDuration(delay, option); !checked) return checked.error();
  if (!function) return Error(Usage::missing, Step::options, "a timer needs a function");
  Result<net::TimerSlot*> timer =
      impl_->startTask(delay.count(), period.count(), std::move(function));
  if (!timer) return timer.error();
  return Timer({impl_.get(), (*timer)->index, (*timer)->generation});
}

Result<void> Reactor::onSignal(int signal, Callback<> function) {
  return impl_->onSignal(signal, std::move(function));
}

Result<detail::HandleId> Reactor::startListening(detail::ListenRequest request) {
  Result<net::Listener*> listener = impl_->listen(std::move(request));
  if (!listener) return listener.error();
  return detail::HandleId{impl_.get(), (*listener)->index, (*listener)->generation};
}

Result<SocketHandle> Reactor::startConnecting(detail::ConnectRequest request) {
  Result<net::Connection*> socket = impl_->connect(std::move(request));
  if (!socket) return socket.error();
  return (*socket)->handle();
}

Result<void> Reactor::drain(Duration deadline, DrainDone done) {
  return impl_->drain(nullptr, deadline, std::move(done));
}

Stats Reactor::stats() const { return impl_->snapshot(); }

std::string Reactor::dump() const { return impl_->dump(); }

int Reactor::pollFd() const { return impl_->poller().fd(); }

std::optional<std::chrono::milliseconds> Reactor::nextDeadline() const {
  const std::optional<uint64_t> deadline = impl_->nextDeadline();
  if (!deadline) return std::nullopt;
  return std::chrono::milliseconds(std::min<uint64_t>(*deadline, INT64_MAX));
}

namespace detail {

net::ReactorImpl& reactorOf(Reactor& reactor) { return *reactor.impl_; }

void defer(net::ReactorImpl& reactor, Callback<> function) { reactor.defer(std::move(function)); }

}  // namespace detail

// --- Timer -----------------------------------------------------------------------------------------

namespace {

net::TimerSlot* timerOf(const detail::HandleId& id) {
  if (id.reactor == nullptr) return nullptr;
  net::TimerSlot* timer = id.reactor->findTimer({id.index, id.generation});
  return timer != nullptr && timer->alive ? timer : nullptr;
}

}  // namespace

void Timer::cancel() const {
  if (net::TimerSlot* timer = timerOf(id_)) id_.reactor->cancelTask(*timer);
}

bool Timer::active() const { return timerOf(id_) != nullptr; }

void Timer::ref() const {
  net::TimerSlot* timer = timerOf(id_);
  if (timer == nullptr || timer->referenced) return;
  timer->referenced = true;
  id_.reactor->addReference();
}

void Timer::unref() const {
  net::TimerSlot* timer = timerOf(id_);
  if (timer == nullptr || !timer->referenced) return;
  timer->referenced = false;
  id_.reactor->dropReference();
}

}  // namespace warren
