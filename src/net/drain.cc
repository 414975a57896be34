#include "net/drain.h"

#include <algorithm>
#include <utility>

#include "net/reactor_impl.h"

namespace warren::net {

namespace {

constexpr uint64_t kQuiet = 100;  // milliseconds

}  // namespace

Drain::Drain(ReactorImpl& reactor, HandlerCell* cell, uint64_t deadline, DrainDone done)
    : reactor_(reactor),
      cell_(cell),
      done_(std::move(done)),
      tick_(std::clamp<uint64_t>(deadline / 4, 1, kQuiet)),
      ticksLeft_((deadline + tick_ - 1) / tick_) {
  if (cell_ != nullptr) ++cell_->references;
  forEachSocket([&](Connection& socket) {
    if (socket.state() == State::closed) return;
    ++result_.finished;  // until it is cut
    traffic_[socket.handle().number()] = socket.bytesRead() + socket.bytesWritten();
  });
  Result<TimerSlot*> timer = reactor_.startTask(tick_, tick_, [this] { tick(); });
  if (timer) timer_ = *timer;
  if (ticksLeft_ == 0 || timer_ == nullptr) cutAll();
}

Drain::~Drain() {
  if (timer_ != nullptr) reactor_.cancelTask(*timer_);
  if (cell_ != nullptr) reactor_.releaseCell(*cell_);
}

// Closed sockets stay linked until the sweep, so a visit may close any of them.
template <class Visit>
void Drain::forEachSocket(const Visit& visit) const {
  const auto visitCell = [&](const HandlerCell& cell) {
    for (uint32_t at = cell.firstSocket; at != kNone;) {
      auto* socket = static_cast<Connection*>(reactor_.slab().at(at));
      at = socket->nextInCell();
      visit(*socket);
    }
  };
  if (cell_ != nullptr) return visitCell(*cell_);
  for (const HandlerCell* cell = reactor_.cells(); cell != nullptr; cell = cell->next) {
    visitCell(*cell);
  }
}

bool Drain::finished() const {
  return cell_ != nullptr ? cell_->firstSocket == kNone : reactor_.socketCount() == 0;
}

void Drain::tell() {
  if (done_) reactor_.dispatch(nullptr, [&] { done_(result_); });
}

void Drain::tick() {
  if (--ticksLeft_ == 0) return cutAll();
  endQuiet();
}

void Drain::endQuiet() {
  std::unordered_map<uint64_t, uint64_t> now;
  forEachSocket([&](Connection& socket) {
    if (socket.state() != State::open) return;
    const uint64_t number = socket.handle().number();
    const uint64_t bytes = socket.bytesRead() + socket.bytesWritten();
    now[number] = bytes;
    const auto before = traffic_.find(number);
    const bool quiet = before != traffic_.end() && before->second == bytes;
    if (quiet && !socket.full()) socket.end({});
  });
  traffic_.swap(now);
}

void Drain::cutAll() {
  if (timer_ != nullptr) reactor_.cancelTask(*std::exchange(timer_, nullptr));
  forEachSocket([&](Connection& socket) {
    if (socket.state() == State::closed) return;
    ++result_.cut;
    --result_.finished;
    socket.cut();
  });
}

}  // namespace warren::net
