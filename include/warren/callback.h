// Callback: one callable of the user's, ready to be kept and called.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace warren {

// Holds any callable: lambdas (move-only captures too), function objects and plain functions. A null
// function pointer, an empty std::function and an empty Callback of any kind count as no callable. What
// it returns is dropped.
//   copying  shares the callable, as copying a function does in JavaScript: captures are not copied
//   cost     a call is one indirect call; only a callable with state is allocated, once
//   thread   copies may live on several threads; calls are as safe as the callable itself
template <class... Args>
class Callback {
 public:
  Callback() = default;

  template <class F>
    requires(!std::derived_from<F, Callback> && std::invocable<F&, Args...>)
  Callback(F callable) { keep<Args...>(std::move(callable)); }

  explicit operator bool() const { return invoke_ != nullptr; }
  bool operator==(std::nullptr_t) const { return invoke_ == nullptr; }

  // Calls it. There must be one.
  void operator()(Args... args) const { invoke_(callable_.get(), std::forward<Args>(args)...); }

 protected:
  // Keeps a callable that wants its arguments as `Given...`, each made from the one in `Args...`.
  template <class... Given, class F>
  void keep(F callable) {
    if constexpr (requires { callable == nullptr; }) {
      if (callable == nullptr) return;
    }
    if constexpr (std::is_empty_v<F> && std::default_initializable<F>) {
      invoke_ = [](void*, Args... args) {
        F stateless;
        static_cast<void>(std::invoke(stateless, static_cast<Given>(std::forward<Args>(args))...));
      };
    } else {
      callable_ = std::make_shared<F>(std::move(callable));
      invoke_ = [](void* kept, Args... args) {
        static_cast<void>(
            std::invoke(*static_cast<F*>(kept), static_cast<Given>(std::forward<Args>(args))...));
      };
    }
  }

 private:
  std::shared_ptr<void> callable_;
  void (*invoke_)(void* callable, Args... args) = nullptr;
};

}  // namespace warren
